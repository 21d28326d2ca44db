# Three roles: Airflow starts and watches jobs, jobs read and write data, readers read. The policies are the files in
# policies/; tests hold what each allows and denies.

locals {
  policy = {
    account = local.account
    alarm_arns = flatten([
      for words in local.endpoint_words : [
        for name in ["TargetTracking-endpoint/%s-*", "%s-*-errors", "%s-*-latency"] : "${local.alarm_arn}:${format(name, words)}"
      ]
    ])
    deployment     = var.deployment
    endpoint_arns  = [for kind in ["endpoint", "endpoint-config", "model", "monitoring-schedule"] : "${local.sagemaker_arn}:${kind}/*"]
    glue_database  = local.glue_database
    job_arns       = [for kind in ["hyper-parameter-tuning-job", "model", "training-job", "transform-job"] : "${local.sagemaker_arn}:${kind}/*"]
    jobs_arn       = local.jobs_arn
    jobs_prefix    = local.jobs_prefix
    jobs_role_arn  = aws_iam_role.jobs.arn
    key_arn        = aws_kms_key.data.arn
    lake_arn       = local.lake_arn
    landing_arn    = local.landing_arn
    log_groups_arn = local.log_groups_arn
    partition      = local.partition
    region         = var.region
    repository_arns = concat(
      [for name in var.repositories : aws_ecr_repository.images[name].arn], var.framework_repository_arns
    )
    security_group_arns = [for id in var.security_group_ids : "${local.ec2_arn}:security-group/${id}"]
    subnet_arns         = [for id in var.subnet_ids : "${local.ec2_arn}:subnet/${id}"]
    table_objects       = [for table in local.job_tables : "${local.lake_arn}/${table}/*"]
    table_prefixes      = [for table in local.job_tables : "${table}/*"]
    workgroup           = local.name
  }

  airflow_policies = concat(["airflow-catalog", "airflow-data", "airflow-jobs"], var.endpoints ? ["airflow-endpoints"] : [])
  jobs_policies    = concat(["jobs"], length(var.subnet_ids) > 0 ? ["jobs-network"] : [])
  readers_policies = length(var.reader_principals) == 0 ? [] : concat(
    ["readers"], var.athena ? ["readers-athena"] : [], local.lake_formation ? ["readers-lakeformation"] : []
  )
  policy_roles = merge(
    { for name in local.airflow_policies : name => aws_iam_role.airflow.name },
    { for name in local.jobs_policies : name => aws_iam_role.jobs.name },
    { for name in local.readers_policies : name => aws_iam_role.readers[0].name },
  )
}

resource "aws_iam_role" "airflow" {
  name        = "${local.name}-airflow"
  description = "Airflow's workers and triggerer: starts, watches and stops jobs, keeps the lake and the catalog."
  assume_role_policy = templatefile("${path.module}/policies/trust-people.json.tftpl", {
    principals = merge(
      length(var.airflow_principals) == 0 ? {} : { AWS = var.airflow_principals },
      length(var.airflow_services) == 0 ? {} : { Service = var.airflow_services },
    )
  })
  max_session_duration = 12 * 3600

  lifecycle {
    precondition {
      condition     = length(var.airflow_principals) + length(var.airflow_services) > 0
      error_message = "Nobody could take the role of Airflow: set airflow_principals or airflow_services."
    }
  }
}

resource "aws_iam_instance_profile" "airflow" {
  count = contains(var.airflow_services, "ec2.amazonaws.com") ? 1 : 0

  name = aws_iam_role.airflow.name
  role = aws_iam_role.airflow.name
}

resource "aws_iam_role" "jobs" {
  name        = "${local.name}-jobs"
  description = "Jobs on SageMaker: read clean rows and references, write what they make."
  assume_role_policy = templatefile("${path.module}/policies/trust-service.json.tftpl", {
    account = local.account
  })
}

resource "aws_iam_role" "readers" {
  count = length(var.reader_principals) > 0 ? 1 : 0

  name        = "${local.name}-readers"
  description = "People and tools that read the lake and its catalog."
  assume_role_policy = templatefile("${path.module}/policies/trust-people.json.tftpl", {
    principals = { AWS = var.reader_principals }
  })
}

resource "aws_iam_policy" "all" {
  for_each = toset(keys(local.policy_roles))

  name   = "${local.name}-${each.key}"
  policy = templatefile("${path.module}/policies/${each.key}.json.tftpl", local.policy)
}

resource "aws_iam_role_policy_attachment" "all" {
  for_each = local.policy_roles

  role       = each.value
  policy_arn = aws_iam_policy.all[each.key].arn
}
