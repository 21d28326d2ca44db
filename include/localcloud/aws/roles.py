"""Whether SageMaker may take on a role: it must exist in the account's IAM and trust the service."""

from __future__ import annotations

from localcloud.aws.errors import validation
from localcloud.aws.home import ACCOUNT

__all__ = ["check_role"]


def check_role(arn: str) -> None:
    """Look the role up, as the service does before it takes a job.

    :raises AwsError: when it does not exist, or does not name the service in its trust policy.
    """
    from moto.iam.models import iam_backends

    roles = iam_backends[ACCOUNT]["aws"].roles.values()
    trusted = [role for role in roles if role.arn == arn and "sagemaker" in role.assume_role_policy_document]
    if not trusted:
        raise validation(
            f"Could not assume role {arn}. Please ensure that the role exists and allows principal "
            "'sagemaker.amazonaws.com' to assume the role."
        )
