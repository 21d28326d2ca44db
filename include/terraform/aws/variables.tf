variable "deployment" {
  description = "Name of this deployment: the option [nightshift] deployment, which jobs carry as a tag. Part of every name here."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,15}$", var.deployment))
    error_message = "2 to 16 characters: lower-case letters, digits and dashes, beginning with a letter."
  }
}

variable "region" {
  description = "Region of everything."
  type        = string
  default     = "us-east-1"
}

variable "tags" {
  description = "Tags of everything, beside nightshift's own: owner, cost centre."
  type        = map(string)
  default     = {}
}

# Who may

variable "airflow_principals" {
  description = "ARNs of the roles or users that Airflow's workers and triggerer run as; they take the role 'airflow' by the connection."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.airflow_principals : can(regex("^arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:", arn))])
    error_message = "Each is the ARN of a role, a user or an account; '*' would let in everybody."
  }
}

variable "airflow_services" {
  description = "Where Airflow's machine has the role 'airflow' itself: ec2.amazonaws.com (an instance profile is made), ecs-tasks.amazonaws.com, airflow.amazonaws.com."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.airflow_services : endswith(name, ".amazonaws.com")])
    error_message = "Each is a service, e.g. ec2.amazonaws.com."
  }
}

variable "reader_principals" {
  description = "ARNs that may take the role 'readers', which reads the lake and the catalog. Empty: there is no such role."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.reader_principals : can(regex("^arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:", arn))])
    error_message = "Each is the ARN of a role, a user or an account; '*' would let in everybody."
  }
}

variable "pipelines" {
  description = "The pipelines and their reference tables: of the lake, jobs may read 'clean' and these, and nothing else."
  type        = map(list(string))
  default     = { flight_delays = ["planes", "weather"] }

  validation {
    condition = alltrue([
      for name in concat(keys(var.pipelines), flatten(values(var.pipelines))) : can(regex("^[a-z][a-z0-9_]*$", name))
    ])
    error_message = "Names of pipelines and of their references, as in the pipeline files."
  }
}

variable "endpoints" {
  description = "Whether Airflow may deploy real-time endpoints (the section 'endpoint' of a pipeline file)."
  type        = bool
  default     = false
}

# Buckets

variable "bucket_prefix" {
  description = "What the names of the buckets begin with, unique in the world. Empty: nightshift-<deployment>-<account>."
  type        = string
  default     = ""

  validation {
    condition     = var.bucket_prefix == "" || can(regex("^[a-z0-9][a-z0-9-]{2,50}$", var.bucket_prefix))
    error_message = "3 to 51 characters: lower-case letters, digits and dashes."
  }
}

variable "landing_uri" {
  description = "Where data land, when a bucket for that is there already, e.g. s3://their-bucket. Empty: a bucket is made."
  type        = string
  default     = ""

  validation {
    condition     = var.landing_uri == "" || can(regex("^s3://[a-z0-9.-]+$", var.landing_uri))
    error_message = "s3://BUCKET, without a folder."
  }
}

variable "lifecycle_rules" {
  description = "Whether old versions and what jobs leave behind expire. false is for tests against a fake AWS."
  type        = bool
  default     = true
}

variable "noncurrent_days" {
  description = "Days that replaced and deleted objects can still be read: as long as models are to be made again."
  type        = number
  default     = 365

  validation {
    condition     = var.noncurrent_days >= 30
    error_message = "At least 30 days."
  }
}

variable "input_days" {
  description = "Days that inputs uploaded from Airflow's machine are kept, above all models. They are found again by what they are and not touched, so S3 counts from the first upload: longer than a model is champion. One that expired is uploaded anew for the next job."
  type        = number
  default     = 365

  validation {
    condition     = var.input_days >= 60
    error_message = "At least 60 days."
  }
}

variable "capture_days" {
  description = "Days that captured requests of endpoints and the reports of their monitoring are kept."
  type        = number
  default     = 90

  validation {
    condition     = var.capture_days >= 2
    error_message = "At least 2 days: the monitoring reads what was captured."
  }
}

variable "scratch_days" {
  description = "Days that checkpoints and what Debugger and profiler leave are kept; longer than any job waits and runs."
  type        = number
  default     = 60

  validation {
    condition     = var.scratch_days >= 35
    error_message = "At least 35 days: a training job may run for 28."
  }
}

variable "access_logs" {
  description = "Whether a fourth bucket keeps who read what of the others."
  type        = bool
  default     = true
}

variable "force_destroy" {
  description = "Whether 'terraform destroy' takes buckets and repositories away with what is in them."
  type        = bool
  default     = false
}

# Jobs

variable "subnet_ids" {
  description = "Subnets that jobs run in; they need a way to S3, ECR and CloudWatch Logs (VPC endpoints or NAT). Empty: SageMaker's own network."
  type        = list(string)
  default     = []
}

variable "security_group_ids" {
  description = "Security groups of jobs, with subnet_ids."
  type        = list(string)
  default     = []

  validation {
    condition     = (length(var.security_group_ids) > 0) == (length(var.subnet_ids) > 0)
    error_message = "subnet_ids and security_group_ids come together."
  }
}

variable "repositories" {
  description = "ECR repositories for the images of jobs. The first is the default image."
  type        = list(string)
  default     = ["jobs"]

  validation {
    condition     = length(var.repositories) > 0
    error_message = "At least one."
  }
}

variable "image_tag" {
  description = "Tag of the default image that is pushed to the first repository."
  type        = string
  default     = "1"
}

variable "framework_repository_arns" {
  description = "ECR repositories of others that jobs pull from: framework images of AWS, e.g. arn:aws:ecr:us-east-1:763104351884:repository/pytorch-training, and the images of Model Monitor and Debugger where sagemaker_monitor_image or sagemaker_debugger_image name them."
  type        = list(string)
  default     = []
}

variable "quotas" {
  description = "Service quotas of SageMaker to ask for, by code, e.g. { \"L-...\" = 4 }; see 'aws service-quotas list-service-quotas --service-code sagemaker'."
  type        = map(number)
  default     = {}
}

# Catalog

variable "lake_formation_tags" {
  description = "Lake Formation tags of the database and its tables: key to value; the tags must be there."
  type        = map(string)
  default     = {}
}

variable "lake_formation_grants" {
  description = "Whether Lake Formation's own permissions are granted too, where lake_formation_tags are set: ASSOCIATE on the tags, CREATE_TABLE and ALTER for Airflow, SELECT for readers. Whoever applies has to be an administrator of the data lake."
  type        = bool
  default     = true
}

variable "athena" {
  description = "Whether there is a workgroup for asking the lake."
  type        = bool
  default     = true
}

variable "athena_scan_limit_gib" {
  description = "GiB that one question may scan."
  type        = number
  default     = 100

  validation {
    condition     = var.athena_scan_limit_gib >= 1
    error_message = "At least 1."
  }
}

# Watching

variable "log_groups" {
  description = "Whether the log groups of SageMaker are managed here. They are one for an account and region: false where another deployment has them."
  type        = bool
  default     = true
}

variable "log_days" {
  description = "Days that logs of jobs are kept."
  type        = number
  default     = 90

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 3653], var.log_days)
    error_message = "One of the retentions of CloudWatch Logs: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, ..."
  }
}

variable "alert_emails" {
  description = "Who is told of alarms and of the budget. Each has to confirm a mail from AWS."
  type        = list(string)
  default     = []
}

variable "bucket_metrics" {
  description = "Whether S3 counts requests and errors of each bucket; costs about 0.30 USD per metric and month."
  type        = bool
  default     = true
}

variable "monthly_budget_usd" {
  description = "What this deployment may cost in a month, by its tag. 0: no budget."
  type        = number
  default     = 100

  validation {
    condition     = var.monthly_budget_usd >= 0
    error_message = "Not below 0."
  }
}
