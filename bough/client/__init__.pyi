from bough.client.client import Client as Client
from bough.client.client import connect as connect
from bough.client.record import Record as Record
