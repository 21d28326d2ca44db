"""Tests of include/localcloud."""
