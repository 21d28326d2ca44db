# By the tag 'nightshift:deployment', which has to be switched on as a cost allocation tag once in the account's billing.

resource "aws_budgets_budget" "month" {
  count = var.monthly_budget_usd > 0 ? 1 : 0

  name         = local.name
  budget_type  = "COST"
  limit_amount = format("%.1f", var.monthly_budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:nightshift:deployment$%s", var.deployment)] # "$${" would be the letters, not the name
  }

  dynamic "notification" {
    for_each = { half = [50, "ACTUAL"], soon = [100, "FORECASTED"], over = [100, "ACTUAL"] }
    content {
      comparison_operator        = "GREATER_THAN"
      threshold                  = notification.value[0]
      threshold_type             = "PERCENTAGE"
      notification_type          = notification.value[1]
      subscriber_sns_topic_arns  = [aws_sns_topic.alerts.arn]
      subscriber_email_addresses = var.alert_emails
    }
  }
}

# The estimate of the whole bill exists in one region only, and where billing alerts are switched on.

resource "aws_cloudwatch_metric_alarm" "bill" {
  count = var.region == "us-east-1" && var.monthly_budget_usd > 0 ? 1 : 0

  alarm_name          = "${local.name}-bill"
  alarm_description   = "The account's bill of this month is beyond twice the budget of ${local.name}"
  namespace           = "AWS/Billing"
  metric_name         = "EstimatedCharges"
  dimensions          = { Currency = "USD" }
  statistic           = "Maximum"
  period              = 21600
  evaluation_periods  = 1
  threshold           = 2 * var.monthly_budget_usd
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alerts.arn]
}
