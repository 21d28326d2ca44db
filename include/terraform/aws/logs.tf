# SageMaker makes these groups itself when they are not there, without an end and without our key.

resource "aws_cloudwatch_log_group" "sagemaker" {
  for_each = toset(var.log_groups ? ["ProcessingJobs", "TrainingJobs", "TransformJobs"] : [])

  name              = "/aws/sagemaker/${each.key}"
  retention_in_days = var.log_days
  kms_key_id        = aws_kms_key.data.arn
}

# State changes of jobs, so that alarms can count them. Of the whole account and region: events carry no tags.

resource "aws_cloudwatch_log_group" "events" {
  name              = "/aws/events/${local.name}-jobs"
  retention_in_days = var.log_days
  kms_key_id        = aws_kms_key.data.arn
}

resource "aws_cloudwatch_log_resource_policy" "events" {
  policy_name = "${local.name}-events"
  policy_document = templatefile("${path.module}/policies/events-to-logs.json.tftpl", {
    log_group_arn = aws_cloudwatch_log_group.events.arn
  })
}

resource "aws_cloudwatch_event_rule" "jobs" {
  name        = "${local.name}-jobs"
  description = "State changes of SageMaker jobs"
  event_pattern = jsonencode({
    source = ["aws.sagemaker"]
    detail-type = [
      "SageMaker HyperParameter Tuning Job State Change",
      "SageMaker Training Job State Change",
      "SageMaker Transform Job State Change",
    ]
  })
}

resource "aws_cloudwatch_event_target" "jobs" {
  rule = aws_cloudwatch_event_rule.jobs.name
  arn  = aws_cloudwatch_log_group.events.arn

  depends_on = [aws_cloudwatch_log_resource_policy.events]
}
