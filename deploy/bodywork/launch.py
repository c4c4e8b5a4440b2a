"""Run the `bodywork` command so that it outlives the SIGTERM that ends its stage.

Tini sends the signal to Bodywork as well as to the stage. If Bodywork died of it, tini
would end, and with it the container, before the requests in flight are answered. With a
handler, which unlike an ignored signal is not inherited, it waits for the stage's end.
"""

import runpy
import signal
import ssl
import sys
from pathlib import Path

from urllib3.util import ssl_

if __name__ == "__main__":
    # The authorities of EKS lack a key identifier: kubernetes-client/python#2394.
    vars(ssl_)["VERIFY_X509_STRICT"] = ssl.VerifyFlags(0)
    signal.signal(signal.SIGTERM, lambda *_: None)
    command = Path(sys.executable).with_name("bodywork")
    runpy.run_path(str(command), run_name="__main__")
