# Reads {"secret", "now", "headers", "body"} from standard input and lets the official library verify them, as a receiver
# whose clock says `now`. Prints what was told, or fails and says why.
import json
import sys
from datetime import datetime

from standardwebhooks import webhooks

asked = json.load(sys.stdin)


class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.fromtimestamp(asked["now"], tz)


webhooks.datetime = Clock
try:
    told = webhooks.Webhook(asked["secret"]).verify(asked["body"].encode(), asked["headers"])
except webhooks.WebhookVerificationError as error:
    sys.exit(str(error))
json.dump(told, sys.stdout)
