"""An HTTP(S) server for tests: receiver.py FOLDER ANSWERS [CERTIFICATE KEY]

Writes its port into FOLDER/port, and each request as a line of JSON into FOLDER/requests. ANSWERS are divided by
commas; the last one is given again and again:
  200, 503, ...       that status
  429:2               with Retry-After: 2
  302>URL             a redirection
  hang                takes the request, and says nothing
  close               takes the request, and closes
  half                closes in the middle of its answer
  echo                200, and the request's body in its own
  huge                an answer of 2 MB
"""
import http.server
import json
import os
import ssl
import sys
import threading
import time

folder, answers = sys.argv[1], sys.argv[2].split(",")
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        request = {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body}
        with lock:
            with open(os.path.join(folder, "requests"), "a", encoding="utf-8") as file:
                file.write(json.dumps(request) + "\n")
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer == "hang":
            time.sleep(3600)
        self.close_connection = True
        if answer == "close":
            return
        status, _, retry_after = answer.partition(":")
        status, _, target = answer.partition(">") if ">" in answer else (status, "", "")
        text = {"echo": body, "huge": "x" * 2_000_000}.get(answer, "it is " + status)
        self.send_response(int(status) if status.isdigit() else 200)
        if retry_after and not target:
            self.send_header("Retry-After", retry_after)
        if target:
            self.send_header("Location", target)
        self.send_header("Content-Length", str(len(text) + (100 if answer == "half" else 0)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_PUT = do_PATCH = answer

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


server = Server(("127.0.0.1", 0), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3], sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True)
with open(os.path.join(folder, "port.new"), "w", encoding="utf-8") as file:
    file.write(str(server.server_port))
os.rename(os.path.join(folder, "port.new"), os.path.join(folder, "port"))
server.serve_forever()
