"""Callers of a real server that stay honest while its database is not there."""

import threading
import time

import urllib3

from contactsync.voprf.client import blind

POINTS = 8


class Callers:
    """Callers that send new batches, each until it is answered; how long each answer took."""

    def __init__(self, url, credential, count):
        self.url, self.ended, self.lock = url, threading.Event(), threading.Lock()
        self.head = {"Authorization": f"Bearer {credential}", "Content-Type": "application/octet-stream"}
        self.times, self.refused, self.good, self.faults = [], 0, 0, []
        self.threads = [threading.Thread(target=self.work, args=(i,)) for i in range(count)]

    def __enter__(self):
        for one in self.threads:
            one.start()
        return self

    def __exit__(self, *_error):
        self.ended.set()
        for one in self.threads:
            one.join()

    def work(self, number):
        with urllib3.PoolManager(retries=False, timeout=60) as http:
            i = 0
            while not self.ended.is_set():
                i += 1
                body = blind([b"%d %d %d" % (number, i, j) for j in range(POINTS)]).blinded.tobytes()
                while not self.send(http, body):
                    time.sleep(0.5)

    def send(self, http, body):
        begin = time.monotonic()
        answer = http.request("POST", f"{self.url}/v1/evaluate/people/1", headers=self.head, body=body)
        with self.lock:
            self.times.append(time.monotonic() - begin)
            if answer.status == 200:
                self.good += 1
                return True
            self.refused += 1
            if answer.status != 503 or not answer.headers.get("retry-after"):
                self.faults.append((answer.status, answer.data))
            return False
