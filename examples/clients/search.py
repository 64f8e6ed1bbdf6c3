"""Searches and rates with the client that openapi-python-client generates: search.py URL, with the package `client` in the path."""

import sys

from client import Client
from client.api.search import create_feedback, search_image
from client.models import FeedbackRequest, SearchRequest, SearchResponse

api = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
found = search_image.sync(client=api, body=SearchRequest(text="tennis", limit=3))
assert isinstance(found, SearchResponse), found
for match in found.matches:
    print(f"{match.score:.3f}  {match.image_name}")
assert found.matches[0].image_name.endswith("tennis.png")
rated = create_feedback.sync_detailed(client=api, body=FeedbackRequest(user_feedback=9, jwt=found.jwt))
assert rated.status_code == 201, rated
