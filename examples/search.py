#!/usr/bin/env python3
"""Searches and rates, with Python's own library: search.py a dog on the beach"""
import json, sys
from urllib.request import Request, urlopen

API = "http://localhost:3000/api/v1/"

def post(path, body):
    request = Request(API + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urlopen(request))

found = post("search-image", {"text": " ".join(sys.argv[1:]) or "tennis", "limit": 5})
for match in found["matches"]:
    print(f"{match['score']:.3f}  {match['image_name']}")
post("create-feedback", {"user_feedback": 8, "jwt": found["jwt"]})
