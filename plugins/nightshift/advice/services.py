"""The decision table: every need of a nightly pipeline and the AWS services that answer it.

``docs/aws/which-service.md`` is rendered from here and ``nightshift recommend`` chooses among these, so that
the two say the same. The limits that a choice turns on are constants, which texts and rules share.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ASYNC_MS",
    "INGEST_GIB",
    "NEEDS",
    "REAL_TIME_MS",
    "SHORT_JOB_S",
    "VALIDATE_ROWS",
    "WINDOW_ROWS",
    "Need",
    "Option",
]

INGEST_GIB = 50
"""GiB a day that one worker copies without being the slowest part of a night."""
VALIDATE_ROWS = 100_000_000
"""Rows a day that one scan on one machine judges; measured here: 10 million rows in 1 s."""
WINDOW_ROWS = 100_000_000
"""Rows of a training window whose features one machine builds; measured: 30 million in 23 s and 8 GB."""
SHORT_JOB_S = 120
"""A job of less work than this waits longer for its machine on SageMaker than it runs."""
REAL_TIME_MS = 2_000
"""A prediction wanted sooner than this needs machines that are always there."""
ASYNC_MS = 60_000
"""SageMaker's limit for one answer of an endpoint; what may take longer is queued."""


@dataclass(frozen=True, slots=True)
class Option:
    """A service for a need; ``when`` is the problem that it is right for."""

    id: str
    service: str
    when: str
    volume: str
    latency: str
    budget: str
    team: str


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that a pipeline needs; ``here`` says what this project does about it."""

    name: str
    question: str
    here: str
    options: tuple[Option, ...]

    def option(self, name: str) -> Option:
        """The option of that id."""
        return next(one for one in self.options if one.id == name)


INGEST = Need(
    "ingest",
    "How do a day's rows come into the lake?",
    "The task `ingest` on an Airflow worker, from any folder on S3; `source` in the pipeline file.",
    (
        Option(
            "worker",
            "Airflow worker (this project)",
            "files land in a bucket once a day",
            f"up to {INGEST_GIB} GiB a day",
            "minutes after the marker",
            "nothing besides the worker",
            "any",
        ),
        Option(
            "glue",
            "AWS Glue job (PySpark)",
            "files need heavy reshaping or joins before they are rows",
            f"more than {INGEST_GIB} GiB a day",
            "minutes; a minute to start",
            "per DPU hour, per second",
            "knows Spark",
        ),
        Option(
            "dms",
            "AWS DMS",
            "the source is a database whose changes are wanted, not a file",
            "any",
            "seconds to minutes",
            "a replication instance, always on",
            "somebody owns the source database",
        ),
        Option(
            "firehose",
            "Amazon Data Firehose",
            "events arrive one by one and shall be files in S3",
            "any, in a stream",
            "about a minute",
            "per GB",
            "any",
        ),
        Option(
            "datasync",
            "AWS DataSync",
            "the files are on a server of your own",
            "terabytes",
            "as scheduled",
            "per GB copied",
            "has access to that network",
        ),
    ),
)

STORAGE = Need(
    "storage",
    "Where do the rows, the models and the predictions lie?",
    "Delta tables in a versioned, encrypted S3 bucket; `include/terraform/aws` makes it.",
    (
        Option(
            "s3",
            "Amazon S3, Delta tables (this project)",
            "whole partitions are written and read, by many tools",
            "bytes to petabytes",
            "tens of milliseconds an object",
            "per GB a month, cheaper with age (lifecycle tiers)",
            "any",
        ),
        Option(
            "s3-tables",
            "Amazon S3 Tables (Iceberg)",
            "the house has decided for Iceberg and wants compaction done for it",
            "bytes to petabytes",
            "as S3",
            "S3 and a fee for maintenance",
            "knows Iceberg",
        ),
        Option(
            "dynamodb",
            "Amazon DynamoDB",
            "one prediction is looked up by its key while somebody waits",
            "up to 400 KB an item",
            "under 10 ms",
            "per request, or reserved",
            "any",
        ),
        Option(
            "fsx",
            "Amazon FSx for Lustre",
            "many GPUs read terabytes of small files again and again",
            "more than a machine's disk",
            "under a millisecond",
            "per GB a month, high",
            "platform team",
        ),
    ),
)

CATALOG = Need(
    "catalog",
    "How do people and other tools find and query the tables?",
    "Glue Data Catalog tables kept in step with the lake where `glue_database` is set; Athena reads them.",
    (
        Option(
            "none",
            "nothing",
            "only this pipeline and notebooks read the lake (Polars, DuckDB, Spark read Delta as it is)",
            "any",
            "-",
            "nothing",
            "small",
        ),
        Option(
            "glue-athena",
            "AWS Glue Data Catalog and Amazon Athena",
            "people ask in SQL now and then",
            "any; paid by what is scanned",
            "seconds",
            "per TB scanned; the catalog is nearly free",
            "any",
        ),
        Option(
            "lake-formation",
            "AWS Lake Formation on top",
            "who may see which column or row is decided in one place",
            "any",
            "as Athena",
            "no fee of its own",
            "platform team with rules to keep",
        ),
        Option(
            "redshift",
            "Amazon Redshift Serverless",
            "dashboards of many people ask all day",
            "terabytes",
            "under a second",
            "per RPU hour while it is asked",
            "analysts",
        ),
    ),
)

VALIDATION = Need(
    "validation",
    "Who judges the rows before a model sees them?",
    "The task `validate`: the Great Expectations suite, every bad row set apart with its reasons.",
    (
        Option(
            "worker",
            "Airflow worker (this project)",
            "the bad rows themselves are wanted, and a verdict that stops the night",
            f"up to {VALIDATE_ROWS:,} rows a day",
            "seconds",
            "nothing besides the worker",
            "any",
        ),
        Option(
            "glue-dq",
            "AWS Glue Data Quality",
            "tables that only Spark can scan; rules in DQDL",
            f"more than {VALIDATE_ROWS:,} rows a day",
            "minutes",
            "per DPU hour",
            "knows Glue",
        ),
        Option(
            "processing",
            "SageMaker Processing job",
            "the check needs a large machine or a GPU for some minutes (images, embeddings)",
            "what fits the largest machine",
            "minutes to start",
            "per second of the machine",
            "any",
        ),
    ),
)

FEATURES = Need(
    "features",
    "Where are features built?",
    "One ibis expression, inside the training and scoring jobs: DuckDB, or PySpark with `features.engine`.",
    (
        Option(
            "duckdb",
            "DuckDB inside the job (this project)",
            "the window fits one machine",
            f"up to {WINDOW_ROWS:,} rows a window",
            "seconds",
            "part of the job's machine",
            "any",
        ),
        Option(
            "emr",
            "Amazon EMR Serverless (the same expression on PySpark)",
            "the window does not fit one machine",
            f"more than {WINDOW_ROWS:,} rows a window",
            "minutes",
            "per vCPU and GB hour",
            "knows Spark",
        ),
        Option(
            "feature-store",
            "SageMaker Feature Store",
            "several models share features, or a real-time model looks up history by key",
            "any",
            "under 10 ms online",
            "per write, read and GB, high for wide tables",
            "platform team",
        ),
    ),
)

TRAINING = Need(
    "training",
    "Where does the model learn?",
    "`platform:` in the pipeline file; `training.resources` says which machines, in which order.",
    (
        Option(
            "local",
            "Airflow worker (platform: local)",
            "training takes less time than a machine takes to come",
            "what fits the worker",
            "starts at once",
            "nothing besides the worker",
            "small; the worker has room",
        ),
        Option(
            "training-job",
            "SageMaker training job",
            "training wants a machine of its own for minutes or hours: memory, GPUs, or peace",
            "what fits one machine",
            "two to five minutes to start",
            "per second of the machine; spot up to 90 % less",
            "any",
        ),
        Option(
            "distributed",
            "SageMaker training job on several machines",
            "one machine's GPUs are not enough (torchrun over `resources.instances`)",
            "more than one machine holds or reads in time",
            "minutes to start; capacity may be short",
            "per second, times the machines",
            "knows distributed training",
        ),
        Option(
            "hyperpod",
            "SageMaker HyperPod or EKS",
            "training for days on tens of GPUs, every week",
            "foundation models",
            "always there",
            "reserved machines",
            "platform team",
        ),
    ),
)

TUNING = Need(
    "tuning",
    "Who looks for hyperparameters?",
    "The section `tuning`: the same search space for Optuna here and for SageMaker's tuner there.",
    (
        Option(
            "none",
            "nothing",
            "known hyperparameters are good enough, or the gate shows that tuning never pays",
            "-",
            "-",
            "nothing",
            "any",
        ),
        Option(
            "optuna",
            "Optuna in one job (platform: local)",
            "one trial takes seconds: a machine for each would be mostly waiting",
            "what fits one machine",
            "starts at once",
            "one machine for the whole search",
            "small",
        ),
        Option(
            "tuner",
            "SageMaker hyperparameter tuning job",
            "one trial takes minutes or more, and trials shall run beside each other",
            "one machine a trial",
            "minutes to start, each trial",
            "per second of every trial; early stopping saves some",
            "any",
        ),
        Option(
            "autopilot",
            "SageMaker Canvas / Autopilot",
            "nobody has chosen a kind of model yet",
            "up to some hundred GB of tabular data",
            "hours",
            "per hour of many machines",
            "no data scientist",
        ),
    ),
)

SCORING = Need(
    "scoring",
    "Who predicts a whole day at once?",
    "The task `score`; exactly one prediction a row, counted, published whole.",
    (
        Option(
            "local",
            "Airflow worker (platform: local)",
            "a day is scored in less time than a machine takes to come",
            "millions of rows",
            "seconds",
            "nothing besides the worker",
            "small",
        ),
        Option(
            "transform",
            "SageMaker batch transform",
            "a day wants machines of its own, for as long as it takes",
            "any; several machines share the files",
            "minutes to start",
            "per second of the machines; no spot",
            "any",
        ),
        Option(
            "spark",
            "EMR Serverless, the model as a Spark UDF",
            "billions of rows a day that already are on Spark",
            "more than some hundred GB a day",
            "minutes",
            "per vCPU and GB hour",
            "knows Spark",
        ),
    ),
)

REAL_TIME = Need(
    "real-time",
    "Who predicts one row while somebody waits?",
    "The section `endpoint`: production variants, canary, autoscaling, capture, rollback.",
    (
        Option("none", "nothing", "predictions of last night are soon enough", "-", "-", "nothing", "any"),
        Option(
            "table",
            "Amazon DynamoDB with last night's predictions",
            "everything that can be asked for is known the night before",
            "one item a key",
            "under 10 ms",
            "per request; no machine",
            "any",
        ),
        Option(
            "endpoint",
            "SageMaker real-time endpoint",
            "the row to predict is not known before, and requests come all day",
            "a small request each",
            f"under {REAL_TIME_MS:,} ms, also for the first request",
            "a machine, always on",
            "somebody is on call",
        ),
        Option(
            "serverless",
            "SageMaker serverless inference",
            "requests are few or come in bursts, and the first may be slow",
            "up to 4 MB a request, 6 GB of memory, no GPU",
            "seconds after a pause, then as an endpoint",
            "per millisecond used; nothing while nobody asks",
            "any",
        ),
        Option(
            "async",
            "SageMaker asynchronous inference",
            "one request is large or takes minutes",
            "up to 1 GB a request",
            f"more than {ASYNC_MS // 1000} s, up to an hour",
            "a machine while there is work; can go to zero",
            "any",
        ),
    ),
)

ORCHESTRATION = Need(
    "orchestration",
    "Who starts the night and sees it through?",
    "Airflow 3.3 with this project's plugins.",
    (
        Option(
            "ec2",
            "Airflow on one EC2 machine",
            "one team, some pipelines, a machine that may be down for ten minutes",
            "tens of pipelines",
            "-",
            "one machine and one small database, always on",
            "small",
        ),
        Option(
            "ecs",
            "Airflow on Amazon ECS or EKS, with RDS",
            "many teams or pipelines; workers come and go",
            "hundreds of pipelines",
            "-",
            "several machines, a database, a load balancer",
            "platform team",
        ),
        Option(
            "mwaa",
            "Amazon MWAA",
            "nobody wants to run Airflow, and MWAA offers a version that this project runs on (3.3)",
            "hundreds of pipelines",
            "-",
            "per environment hour, always on",
            "small, with money",
        ),
        Option(
            "pipelines",
            "SageMaker Pipelines or Step Functions",
            "all steps are SageMaker jobs, and no backfill, no gate of your own is needed",
            "-",
            "-",
            "nothing or per step",
            "all on AWS",
        ),
    ),
)

MONITORING = Need(
    "monitoring",
    "Who notices that something is wrong?",
    "Alerts, Airflow metrics (docs/metrics.md), alarms and a budget in `include/terraform/aws`.",
    (
        Option(
            "cloudwatch",
            "Amazon CloudWatch alarms and AWS Budgets",
            "jobs that fail, money that goes, nights that do not come",
            "any",
            "a minute; a budget some hours",
            "per alarm and metric, small",
            "any",
        ),
        Option(
            "model-monitor",
            "SageMaker Model Monitor",
            "an endpoint answers requests that no night sees",
            "what the endpoint captures",
            "hourly",
            "a machine for each look",
            "any",
        ),
        Option(
            "prometheus",
            "Amazon Managed Prometheus and Grafana",
            "the house looks at everything in Grafana",
            "any",
            "seconds",
            "per sample, per user",
            "platform team",
        ),
    ),
)

REGISTRY = Need(
    "registry",
    "Where are the versions, and which one is champion?",
    "MLflow; the champion is decided by the ledger in the lake, whatever the registry.",
    (
        Option(
            "mlflow",
            "MLflow on the Airflow machine",
            "one team; the ledger in the lake is the truth anyway",
            "thousands of versions",
            "-",
            "nothing besides the machine",
            "small",
        ),
        Option(
            "managed-mlflow",
            "SageMaker managed MLflow",
            "several teams, sign-in by IAM, nobody wants to run it",
            "any",
            "-",
            "per hour, always on",
            "platform team",
        ),
        Option(
            "sagemaker-registry",
            "SageMaker Model Registry",
            "deployments are approved in SageMaker across accounts",
            "any",
            "-",
            "nothing besides S3",
            "all on AWS",
        ),
    ),
)

NEEDS = (
    INGEST,
    STORAGE,
    CATALOG,
    VALIDATION,
    FEATURES,
    TRAINING,
    TUNING,
    SCORING,
    REAL_TIME,
    ORCHESTRATION,
    MONITORING,
    REGISTRY,
)
"""Every need, in the order of a night."""
