# What is replaced or deleted can be read for noncurrent_days; what is not read moves to a cheaper tier by itself;
# what jobs are given and leave on the way expires. Not .code and .models: they are small, uploaded once and found again,
# and an endpoint that grows takes its model from there.

locals {
  scratch = {
    inputs      = { prefix = "${local.jobs_prefix}/.inputs/", days = var.input_days }
    checkpoints = { prefix = "${local.jobs_prefix}/.checkpoints/", days = var.scratch_days }
    debugger    = { prefix = "${local.jobs_prefix}/.debugger/", days = var.scratch_days }
    profiler    = { prefix = "${local.jobs_prefix}/.profiler/", days = var.scratch_days }
    capture     = { prefix = "${local.jobs_prefix}/.capture/", days = var.capture_days }
    monitoring  = { prefix = "${local.jobs_prefix}/.monitoring/", days = var.capture_days }
    answers     = { prefix = "athena/", days = 7 }
  }
  expiring = merge(
    { for key in local.data_buckets : key => {} },
    { jobs = local.scratch },
    var.access_logs ? { logs = { all = { prefix = "", days = 400 } } } : {},
  )
}

resource "aws_s3_bucket_lifecycle_configuration" "all" {
  for_each = var.lifecycle_rules ? local.expiring : {}

  bucket = local.all_buckets[each.key].id

  rule {
    id     = "versions"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = each.key == "lake" ? var.noncurrent_days : 30
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 3
    }
    dynamic "expiration" {
      for_each = each.key == "logs" ? [] : [true]
      content {
        expired_object_delete_marker = true
      }
    }
  }

  dynamic "rule" {
    for_each = each.key == "logs" ? [] : [true]
    content {
      id     = "tiers"
      status = "Enabled"
      filter {}
      transition {
        days          = 30
        storage_class = "INTELLIGENT_TIERING"
      }
    }
  }

  dynamic "rule" {
    for_each = each.value
    content {
      id     = "expire-${rule.key}"
      status = "Enabled"
      filter {
        prefix = rule.value.prefix
      }
      expiration {
        days = rule.value.days
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.all]
}
