#!/usr/bin/env python3
"""Keeps notes as GitLab's API does, for one merge request: note_server.py PORT_FILE NOTES_FOLDER

Each note is a file of its number. Requests without the token are refused.
"""

import http.server
import json
import pathlib
import sys
import urllib.parse

PATH = "/api/v4/projects/7/merge_requests/3/notes"
folder = pathlib.Path(sys.argv[2])


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, code, value):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def serve(self):
        path = urllib.parse.urlsplit(self.path).path
        size = int(self.headers.get("Content-Length", 0))
        fields = urllib.parse.parse_qs(self.rfile.read(size).decode())
        if self.headers.get("PRIVATE-TOKEN") != "a-token":
            return self.answer(401, {"message": "401 Unauthorized"})
        notes = sorted(folder.iterdir(), key=lambda note: int(note.name))
        if self.command == "GET" and path == PATH:
            return self.answer(200, [{"id": int(note.name), "body": note.read_text()} for note in notes])
        if self.command == "POST" and path == PATH:
            (folder / str(len(notes) + 1)).write_text(fields["body"][0])
            return self.answer(201, {})
        note = folder / path.removeprefix(PATH + "/")
        if self.command == "PUT" and note in notes:
            note.write_text(fields["body"][0])
            return self.answer(200, {})
        return self.answer(404, {"message": "404 Not found"})

    do_GET = do_POST = do_PUT = serve

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
pathlib.Path(sys.argv[1] + ".new").write_text(str(server.server_port))
pathlib.Path(sys.argv[1] + ".new").rename(sys.argv[1])
server.serve_forever()
