resource "aws_servicequotas_service_quota" "sagemaker" {
  for_each = var.quotas

  service_code = "sagemaker"
  quota_code   = each.key
  value        = each.value
}
