# The tables in this database are Nightshift's to make and to keep in step with the lake; see docs/data-repository.md.

resource "aws_glue_catalog_database" "lake" {
  name         = local.glue_database
  description  = "The lake of ${local.name}"
  location_uri = "s3://${aws_s3_bucket.data["lake"].bucket}/"
}

resource "aws_lakeformation_resource_lf_tags" "lake" {
  count = length(var.lake_formation_tags) > 0 ? 1 : 0

  database {
    name = aws_glue_catalog_database.lake.name
  }
  dynamic "lf_tag" {
    for_each = var.lake_formation_tags
    content {
      key   = lf_tag.key
      value = lf_tag.value
    }
  }
}

# What Lake Formation has to grant beside IAM. Who makes a table owns it and may tag it, given the tag; ALTER is for
# tables that somebody else has made. Whoever applies this has to be an administrator of the data lake.

locals {
  lake_formation = var.lake_formation_grants && length(var.lake_formation_tags) > 0
  table_grants = !local.lake_formation ? {} : merge(
    { airflow = { role = aws_iam_role.airflow.arn, may = ["ALTER", "DESCRIBE"] } },
    length(var.reader_principals) == 0 ? {} : {
      readers = { role = aws_iam_role.readers[0].arn, may = ["DESCRIBE", "SELECT"] }
    },
  )
}

resource "aws_lakeformation_permissions" "tags" {
  for_each = local.lake_formation ? var.lake_formation_tags : {}

  principal   = aws_iam_role.airflow.arn
  permissions = ["ASSOCIATE", "DESCRIBE"]

  lf_tag {
    key    = each.key
    values = [each.value]
  }
}

resource "aws_lakeformation_permissions" "database" {
  count = local.lake_formation ? 1 : 0

  principal   = aws_iam_role.airflow.arn
  permissions = ["ALTER", "CREATE_TABLE", "DESCRIBE"]

  database {
    name = aws_glue_catalog_database.lake.name
  }
}

resource "aws_lakeformation_permissions" "tables" {
  for_each = local.table_grants

  principal   = each.value.role
  permissions = each.value.may

  table {
    database_name = aws_glue_catalog_database.lake.name
    wildcard      = true
  }
}

resource "aws_athena_workgroup" "lake" {
  count = var.athena ? 1 : 0

  name          = local.name
  description   = "Questions to the lake of ${local.name}"
  force_destroy = var.force_destroy

  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = true
    bytes_scanned_cutoff_per_query     = var.athena_scan_limit_gib * 1024 * 1024 * 1024

    engine_version {
      selected_engine_version = "Athena engine version 3" # the one that reads Delta tables
    }
    result_configuration {
      output_location = "s3://${aws_s3_bucket.data["jobs"].bucket}/athena/"
      encryption_configuration {
        encryption_option = "SSE_KMS"
        kms_key_arn       = aws_kms_key.data.arn
      }
    }
  }
}
