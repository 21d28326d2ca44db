resource "aws_sns_topic" "alerts" {
  name              = "${local.name}-alerts"
  kms_master_key_id = aws_kms_key.data.id
}

resource "aws_sns_topic_policy" "alerts" {
  arn = aws_sns_topic.alerts.arn
  policy = templatefile("${path.module}/policies/topic.json.tftpl", {
    topic_arn = aws_sns_topic.alerts.arn
    account   = local.account
  })
}

resource "aws_sns_topic_subscription" "alerts" {
  for_each = toset(var.alert_emails)

  topic_arn = aws_sns_topic.alerts.arn
  protocol  = "email"
  endpoint  = each.key
}

locals {
  # A job that reaches its longest time has outlived the task that wanted it, and the reaper too.
  job_alarms = {
    failed = {
      says    = "A SageMaker job of this account failed"
      pattern = "{ ($.detail.TrainingJobStatus = \"Failed\") || ($.detail.TransformJobStatus = \"Failed\") || ($.detail.HyperParameterTuningJobStatus = \"Failed\") }"
    }
    overdue = {
      says    = "A SageMaker job of this account ran until its longest time: nobody stopped it before"
      pattern = "{ ($.detail.SecondaryStatus = \"MaxRuntimeExceeded\") || ($.detail.SecondaryStatus = \"MaxWaitTimeExceeded\") }"
    }
  }
}

resource "aws_cloudwatch_log_metric_filter" "jobs" {
  for_each = local.job_alarms

  name           = "${local.name}-${each.key}"
  log_group_name = aws_cloudwatch_log_group.events.name
  pattern        = each.value.pattern

  metric_transformation {
    namespace = "Nightshift/${var.deployment}"
    name      = "jobs-${each.key}"
    value     = "1"
  }
}

resource "aws_cloudwatch_metric_alarm" "jobs" {
  for_each = local.job_alarms

  alarm_name          = "${local.name}-jobs-${each.key}"
  alarm_description   = each.value.says
  namespace           = "Nightshift/${var.deployment}"
  metric_name         = "jobs-${each.key}"
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alerts.arn]

  depends_on = [aws_cloudwatch_log_metric_filter.jobs]
}

# Buckets

resource "aws_s3_bucket_metric" "requests" {
  for_each = var.bucket_metrics ? aws_s3_bucket.data : {}

  bucket = each.value.id
  name   = "EntireBucket"
}

locals {
  bucket_alarms = {
    for pair in setproduct(var.bucket_metrics ? tolist(local.data_buckets) : [], ["4xxErrors", "5xxErrors"]) :
    "${pair[0]}-${pair[1]}" => { bucket = pair[0], metric = pair[1] }
  }
}

resource "aws_cloudwatch_metric_alarm" "buckets" {
  for_each = local.bucket_alarms

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = each.value.metric == "4xxErrors" ? "Many requests to a bucket are refused: a role or a name is wrong" : "S3 itself fails"
  namespace           = "AWS/S3"
  metric_name         = each.value.metric
  dimensions          = { BucketName = aws_s3_bucket.data[each.value.bucket].bucket, FilterId = "EntireBucket" }
  statistic           = "Average" # the share of requests; looking for what is not there counts as an error too
  period              = 300
  evaluation_periods  = 3
  threshold           = each.value.metric == "4xxErrors" ? 0.5 : 0.05
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alerts.arn]
}
