data "aws_caller_identity" "me" {}

data "aws_partition" "here" {}

locals {
  name      = "nightshift-${var.deployment}"
  account   = data.aws_caller_identity.me.account_id
  partition = data.aws_partition.here.partition

  # The tag of the deployment is also the one that jobs carry: by it the budget counts, and jobs may be stopped.
  tags = merge(var.tags, { project = "nightshift", "nightshift:deployment" = var.deployment })

  bucket_prefix = var.bucket_prefix == "" ? "${local.name}-${local.account}" : var.bucket_prefix
  own_landing   = var.landing_uri == ""
  jobs_prefix   = "jobs"
  glue_database = replace("nightshift_${var.deployment}", "-", "_")

  # Of the lake, jobs read the clean rows and the references.
  job_tables = flatten([
    for pipeline, references in var.pipelines : [for table in concat(["clean"], references) : "${pipeline}/${table}"]
  ])

  # What the name of a pipeline's endpoint begins with, before its digest; 40 characters are its limit.
  endpoint_words = [for pipeline in sort(keys(var.pipelines)) : trimsuffix(substr(replace(pipeline, "_", "-"), 0, 27), "-")]

  lake_arn    = aws_s3_bucket.data["lake"].arn
  jobs_arn    = aws_s3_bucket.data["jobs"].arn
  landing_arn = local.own_landing ? aws_s3_bucket.data["landing"].arn : "arn:${local.partition}:s3:::${trimprefix(var.landing_uri, "s3://")}"

  jobs_uri       = "s3://${aws_s3_bucket.data["jobs"].bucket}/${local.jobs_prefix}"
  log_groups_arn = "arn:${local.partition}:logs:${var.region}:${local.account}:log-group:/aws/sagemaker/*"
  alarm_arn      = "arn:${local.partition}:cloudwatch:${var.region}:${local.account}:alarm"
  ec2_arn        = "arn:${local.partition}:ec2:${var.region}:${local.account}"
  sagemaker_arn  = "arn:${local.partition}:sagemaker:${var.region}:${local.account}"
}
