locals {
  image = "${aws_ecr_repository.images[var.repositories[0]].repository_url}:${var.image_tag}"

  # The names that Nightshift's settings take; sagemaker_ is the prefix of an option.
  sagemaker = merge(
    {
      role_arn   = aws_iam_role.jobs.arn
      jobs_uri   = local.jobs_uri
      image      = local.image
      kms_key_id = aws_kms_key.data.arn
    },
    length(var.subnet_ids) == 0 ? {} : {
      subnets            = join(",", var.subnet_ids)
      security_group_ids = join(",", var.security_group_ids)
    },
  )
  options = merge(
    {
      deployment    = var.deployment
      landing_uri   = local.own_landing ? "s3://${aws_s3_bucket.data["landing"].bucket}" : var.landing_uri
      lake_uri      = "s3://${aws_s3_bucket.data["lake"].bucket}"
      glue_database = aws_glue_catalog_database.lake.name
    },
    length(var.lake_formation_tags) == 0 ? {} : {
      lake_formation_tags = join(",", [for key, value in var.lake_formation_tags : "${key}=${value}"])
    },
    { for name, value in local.sagemaker : "sagemaker_${name}" => value },
  )
}

output "nightshift_options" {
  description = "The options of airflow.cfg's section [nightshift] for this deployment."
  value       = local.options
}

output "environment" {
  description = "The same as environment variables, with the connection, NAME=value on a line: 'terraform output -raw environment'. Nothing in it is secret."
  value = join("\n", concat(
    [for name, value in local.options : "AIRFLOW__NIGHTSHIFT__${upper(name)}=${value}"],
    [for name in ["LANDING", "LAKE", "SAGEMAKER"] : "AIRFLOW__NIGHTSHIFT__${name}_CONN_ID=aws_default"],
    ["AIRFLOW_CONN_AWS_DEFAULT=${local.connection}", ""],
  ))
}

locals {
  connection = jsonencode({
    conn_type = "aws"
    extra = merge(
      { region_name = var.region },
      # A machine that has the role already may not take it again.
      length(var.airflow_principals) == 0 ? {} : { role_arn = aws_iam_role.airflow.arn },
    )
  })
}

output "airflow_connection" {
  description = "The Airflow connection that signs in: 'airflow connections add aws_default --conn-json ...'. It holds no secret: the machine's own identity takes the role 'airflow'."
  value       = local.connection
}

output "roles" {
  description = "ARNs of the roles."
  value = {
    airflow = aws_iam_role.airflow.arn
    jobs    = aws_iam_role.jobs.arn
    readers = one(aws_iam_role.readers[*].arn)
  }
}

output "repository_urls" {
  description = "Where images are pushed to."
  value       = { for name, repository in aws_ecr_repository.images : name => repository.repository_url }
}

output "alerts_topic_arn" {
  description = "Where alarms and the budget tell; subscribe a chat or a pager."
  value       = aws_sns_topic.alerts.arn
}
