"""A Celery worker's application: the client is made at import, before the pool forks. Not imported by tests."""

import os

from celery import Celery

from brownout import Brownout

app = Celery("tests")
app.conf.broker_url = "filesystem://"
app.conf.broker_transport_options = {
    "data_folder_in": os.environ["CELERY_FOLDER"],
    "data_folder_out": os.environ["CELERY_FOLDER"],
    "control_folder": os.environ["CELERY_FOLDER"] + "/control",  # else into the working directory
    "polling_interval": 0.1,
}
app.conf.result_backend = "file://" + os.environ["CELERY_FOLDER"]
client = Brownout.connect(disk=False)


@app.task
def decide() -> dict[str, object]:
    return {"pid": os.getpid(), "first": client.boolean("first"), "revision": client.status.revision}
