# What must hold of every plan, without an account: `terraform test`.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mock" }
  }
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/mock" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:us-east-1:123456789012:key/mock" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::mock" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:us-east-1:123456789012:mock" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:us-east-1:123456789012:log-group:mock" }
  }
}

variables {
  deployment         = "test"
  airflow_principals = ["arn:aws:iam::123456789012:role/workers"]
}

run "every_bucket_is_closed_versioned_and_encrypted" {
  assert {
    condition     = join(" ", keys(local.all_buckets)) == "jobs lake landing logs"
    error_message = "There are four buckets."
  }
  assert {
    condition     = join(" ", keys(aws_s3_bucket_public_access_block.all)) == join(" ", keys(local.all_buckets)) && alltrue([for each in aws_s3_bucket_public_access_block.all : each.block_public_acls && each.block_public_policy && each.ignore_public_acls && each.restrict_public_buckets])
    error_message = "A bucket is open to the public."
  }
  assert {
    condition     = join(" ", keys(aws_s3_bucket_versioning.all)) == join(" ", keys(local.all_buckets)) && alltrue([for each in aws_s3_bucket_versioning.all : each.versioning_configuration[0].status == "Enabled"])
    error_message = "A bucket keeps no versions."
  }
  assert {
    condition     = join(" ", keys(aws_s3_bucket_server_side_encryption_configuration.data)) == "jobs lake landing" && alltrue([for each in aws_s3_bucket_server_side_encryption_configuration.data : one(one(each.rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms"])
    error_message = "A data bucket is not encrypted with the key."
  }
  assert {
    condition     = join(" ", keys(aws_s3_bucket_server_side_encryption_configuration.logs)) == "logs"
    error_message = "The bucket of the access logs is not encrypted."
  }
  assert {
    condition     = join(" ", keys(aws_s3_bucket_ownership_controls.all)) == join(" ", keys(local.all_buckets))
    error_message = "A bucket takes access control lists."
  }
  assert {
    condition = join(" ", keys(aws_s3_bucket_policy.all)) == join(" ", keys(local.all_buckets)) && alltrue([
      for each in aws_s3_bucket_policy.all : anytrue([
        for said in jsondecode(each.policy).Statement :
        said.Effect == "Deny" && said.Action == "s3:*" && try(said.Condition.Bool["aws:SecureTransport"], "") == "false"
      ])
    ])
    error_message = "A bucket answers without TLS."
  }
  assert {
    condition     = alltrue([for each in aws_s3_bucket.data : !each.force_destroy])
    error_message = "Buckets must not go away with what is in them, unless it is asked for."
  }
}

run "the_key_turns" {
  assert {
    condition     = aws_kms_key.data.enable_key_rotation
    error_message = "The key is never rotated."
  }
}

run "what_is_replaced_can_be_read_for_a_year_and_scratch_expires" {
  assert {
    condition     = join(" ", keys(aws_s3_bucket_lifecycle_configuration.all)) == join(" ", keys(local.all_buckets))
    error_message = "A bucket has no lifecycle."
  }
  assert {
    condition     = anytrue([for rule in aws_s3_bucket_lifecycle_configuration.all["lake"].rule : try(rule.noncurrent_version_expiration[0].noncurrent_days, 0) == 365])
    error_message = "Replaced objects of the lake go too early."
  }
  assert {
    condition     = !anytrue(flatten([for bucket in ["lake", "landing"] : [for rule in aws_s3_bucket_lifecycle_configuration.all[bucket].rule : try(rule.expiration[0].days, 0) > 0]]))
    error_message = "Data that nobody deleted must not expire."
  }
  assert {
    condition     = toset([for rule in aws_s3_bucket_lifecycle_configuration.all["jobs"].rule : rule.id]) == toset(["versions", "tiers", "expire-inputs", "expire-checkpoints", "expire-debugger", "expire-profiler", "expire-capture", "expire-monitoring", "expire-answers"])
    error_message = "Scratch of jobs does not expire as it should."
  }
  assert {
    condition     = anytrue([for rule in aws_s3_bucket_lifecycle_configuration.all["jobs"].rule : rule.id == "expire-inputs" && try(rule.expiration[0].days, 0) == 365])
    error_message = "A champion that was uploaded long ago goes while it is in use."
  }
}

run "roles_are_handed_to_nobody_but_those_named" {
  assert {
    condition     = jsondecode(aws_iam_role.airflow.assume_role_policy).Statement[0].Principal == { AWS = ["arn:aws:iam::123456789012:role/workers"] }
    error_message = "Somebody else may take the role of Airflow."
  }
  assert {
    condition     = jsondecode(aws_iam_role.jobs.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "123456789012"
    error_message = "Another account's SageMaker could take the role of jobs."
  }
  assert {
    condition     = length(aws_iam_role.readers) == 0 && !contains(keys(aws_iam_policy.all), "readers")
    error_message = "There are no readers, so there is no role."
  }
}

run "a_machine_that_has_the_role_does_not_take_it" {
  variables {
    airflow_services   = ["ec2.amazonaws.com"]
    airflow_principals = []
  }
  assert {
    condition     = !strcontains(output.airflow_connection, "role_arn") && length(aws_iam_instance_profile.airflow) == 1
    error_message = "A role may not take itself."
  }
}

run "policies_that_nobody_needs_are_not_made" {
  assert {
    condition     = join(" ", keys(local.policy_roles)) == "airflow-catalog airflow-data airflow-jobs jobs"
    error_message = "Endpoints, a network and readers were not asked for."
  }
}

run "a_network_endpoints_and_readers_bring_their_policies" {
  variables {
    endpoints          = true
    subnet_ids         = ["subnet-1"]
    security_group_ids = ["sg-1"]
    reader_principals  = ["arn:aws:iam::123456789012:root"]
  }
  assert {
    condition     = join(" ", keys(local.policy_roles)) == "airflow-catalog airflow-data airflow-endpoints airflow-jobs jobs jobs-network readers readers-athena"
    error_message = "A policy is missing."
  }
  assert {
    condition     = output.nightshift_options.sagemaker_subnets == "subnet-1" && output.nightshift_options.sagemaker_security_group_ids == "sg-1"
    error_message = "Jobs would not run in the network."
  }
}

run "lake_formation_grants_what_tagging_and_reading_need" {
  variables {
    lake_formation_tags = { domain = "flights" }
    reader_principals   = ["arn:aws:iam::123456789012:root"]
  }
  assert {
    condition     = one(aws_lakeformation_permissions.tags["domain"].lf_tag).key == "domain" && contains(aws_lakeformation_permissions.tags["domain"].permissions, "ASSOCIATE")
    error_message = "Airflow may not put the tag on a table."
  }
  assert {
    condition     = contains(aws_lakeformation_permissions.database[0].permissions, "CREATE_TABLE") && contains(aws_lakeformation_permissions.tables["airflow"].permissions, "ALTER")
    error_message = "Airflow may not make or change tables."
  }
  assert {
    condition     = contains(aws_lakeformation_permissions.tables["readers"].permissions, "SELECT") && contains(keys(aws_iam_policy.all), "readers-lakeformation")
    error_message = "Readers read nothing."
  }
}

run "lake_formation_is_left_to_its_administrator" {
  variables {
    lake_formation_tags   = { domain = "flights" }
    lake_formation_grants = false
  }
  assert {
    condition     = length(aws_lakeformation_permissions.tags) + length(aws_lakeformation_permissions.database) + length(aws_lakeformation_permissions.tables) == 0
    error_message = "Something was granted all the same."
  }
}

run "alarms_are_those_of_the_pipelines" {
  variables {
    pipelines = { a_pipeline_with_quite_a_long_name_of_its_own = [] }
  }
  assert {
    condition     = contains(local.policy.alarm_arns, "arn:aws:cloudwatch:us-east-1:123456789012:alarm:a-pipeline-with-quite-a-lon-*-errors")
    error_message = "The endpoint's name is cut; so is what its alarms are let in by."
  }
}

run "images_cannot_be_exchanged_and_are_scanned" {
  assert {
    condition     = alltrue([for each in aws_ecr_repository.images : each.image_tag_mutability == "IMMUTABLE" && each.image_scanning_configuration[0].scan_on_push])
    error_message = "An image could change under its tag, or is not scanned."
  }
}

run "everything_is_tagged_logged_and_watched" {
  variables {
    alert_emails = ["night@example.com"]
    tags         = { owner = "data" }
  }
  assert {
    condition     = jsonencode(local.tags) == jsonencode({ "nightshift:deployment" = "test", owner = "data", project = "nightshift" })
    error_message = "Tags are missing."
  }
  assert {
    condition     = alltrue([for each in aws_cloudwatch_log_group.sagemaker : each.retention_in_days == 90 && each.kms_key_id != null])
    error_message = "Logs are kept for ever, or in the clear."
  }
  assert {
    condition     = join(" ", keys(aws_cloudwatch_metric_alarm.jobs)) == "failed overdue" && length(aws_cloudwatch_metric_alarm.buckets) == 6 && length(aws_cloudwatch_metric_alarm.bill) == 1
    error_message = "An alarm is missing."
  }
  assert {
    condition     = length(aws_budgets_budget.month[0].notification) == 3 && length(aws_sns_topic_subscription.alerts) == 1
    error_message = "Nobody is told when the money runs out."
  }
  assert {
    condition     = one(one(aws_budgets_budget.month[0].cost_filter).values) == "user:nightshift:deployment${"$"}test"
    error_message = "The budget counts nothing: its filter is not the tag's key, a dollar sign and the deployment."
  }
}

run "a_landing_bucket_of_others_is_taken_as_it_is" {
  variables {
    landing_uri = "s3://theirs"
  }
  assert {
    condition     = output.nightshift_options.landing_uri == "s3://theirs" && !contains(keys(aws_s3_bucket.data), "landing") && local.landing_arn == "arn:aws:s3:::theirs"
    error_message = "Their bucket is not used as it is."
  }
}

run "the_world_is_not_let_in" {
  command = plan
  variables {
    airflow_principals = ["*"]
  }
  expect_failures = [var.airflow_principals]
}

run "a_deployment_has_a_short_plain_name" {
  command = plan
  variables {
    deployment = "Night Shift"
  }
  expect_failures = [var.deployment]
}

run "somebody_is_airflow" {
  command = plan
  variables {
    airflow_principals = []
  }
  expect_failures = [aws_iam_role.airflow]
}

run "a_network_needs_both_its_halves" {
  command = plan
  variables {
    subnet_ids = ["subnet-1"]
  }
  expect_failures = [var.security_group_ids]
}
