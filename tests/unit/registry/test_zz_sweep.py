import pytest
from dataclasses import replace
from nightshift.errors import RegistryError
from tests.fakes.cut_line import cut_line
from tests.unit.registry.test_outage import Night
from tests.unit.registry.conftest import *
pytestmark=[pytest.mark.timeout(1500)]
def test_sweep(mlflow_server, monkeypatch, unique, tuning_output, training_output, evaluation_output):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    n=Night(unique, tuning_output, training_output, evaluation_output)
    bad=[]
    with cut_line(mlflow_server) as line:
        replace(n,name=unique+"_w").register(line.url); total=line.passed
        print("requests", total)
        for lose in (False,True):
            for at in range(total):
                m=replace(n,name=f"{unique}_{int(lose)}_{at}")
                line.cut(at,lose_reply=lose)
                try:
                    m.register(line.url); bad.append((lose,at,"no error"))
                except RegistryError: pass
                except BaseException as e: bad.append((lose,at,type(e).__name__,str(e)[:200]))
                line.mend()
                try: m.check(mlflow_server, m.register(line.url))
                except BaseException as e: bad.append((lose,at,"after",type(e).__name__,str(e)[:300]))
    print("BAD", *bad, sep="\n")
