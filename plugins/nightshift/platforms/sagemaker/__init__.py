"""Jobs on Amazon SageMaker, behind the same contract as on this machine."""
