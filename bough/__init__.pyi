from bough.runtime.pages.opening import database as database
from bough.runtime.queued import Item as Item
from bough.runtime.runs import params as params
from bough.runtime.runs import run as run
from bough.runtime.service import Reject as Reject
from bough.runtime.service import batch as batch

__version__: str
