locals {
  data_buckets = toset(concat(local.own_landing ? ["landing"] : [], ["lake", "jobs"]))
  all_buckets  = merge(aws_s3_bucket.data, aws_s3_bucket.logs)
}

resource "aws_s3_bucket" "data" {
  for_each = local.data_buckets

  bucket        = "${local.bucket_prefix}-${each.key}"
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_server_side_encryption_configuration" "data" {
  for_each = aws_s3_bucket.data

  bucket = each.value.id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.data.arn
    }
  }
}

resource "aws_s3_bucket_logging" "data" {
  for_each = var.access_logs ? aws_s3_bucket.data : {}

  bucket        = each.value.id
  target_bucket = aws_s3_bucket.logs["logs"].id
  target_prefix = "${each.key}/"

  depends_on = [aws_s3_bucket_policy.all] # which lets S3 write there
}

# Access logs

resource "aws_s3_bucket" "logs" {
  for_each = toset(var.access_logs ? ["logs"] : [])

  bucket        = "${local.bucket_prefix}-logs"
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_server_side_encryption_configuration" "logs" {
  for_each = aws_s3_bucket.logs

  bucket = each.value.id
  rule {
    # S3 delivers access logs only to buckets that are encrypted with its own key.
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

# What every bucket has

resource "aws_s3_bucket_versioning" "all" {
  for_each = local.all_buckets

  bucket = each.value.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_public_access_block" "all" {
  for_each = local.all_buckets

  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "all" {
  for_each = local.all_buckets

  bucket = each.value.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_policy" "all" {
  for_each = local.all_buckets

  bucket = each.value.id
  policy = templatefile("${path.module}/policies/${each.key == "logs" ? "bucket-logs" : "bucket"}.json.tftpl", {
    bucket_arn = each.value.arn
    account    = local.account
  })

  depends_on = [aws_s3_bucket_public_access_block.all]
}
