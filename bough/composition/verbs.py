"""Where operations are declared: every command, route and method of the SDK comes from one of these modules."""

from __future__ import annotations

from types import ModuleType

from bough.access import operations as access
from bough.capacity import operations as capacity
from bough.costs import operations as costs
from bough.data import erasure, forgetting, retention, upkeep
from bough.data import operations as data
from bough.data import space as data_space
from bough.data.tables import erasing as table_erasing
from bough.data.tables import operations as tables
from bough.data.tables import operations_query as table_queries
from bough.data.tables import operations_schema as table_schemas
from bough.databases import operations as databases
from bough.databases import operations_states as database_states
from bough.environments import branches
from bough.environments import operations as environments
from bough.forges import operations as forges
from bough.gates import operations as gates
from bough.gateway import operations as traffic
from bough.jobs import operations as jobs
from bough.ledger import operations as ledger
from bough.lineage import operations as lineage
from bough.mirrors import baselines
from bough.mirrors import operations as mirrors
from bough.optimizing import operations as optimizing
from bough.platform import operations as platform
from bough.promotions import operations as promotions
from bough.pushes import operations as pushes
from bough.queues import operations as queues
from bough.registry import operations as models
from bough.registry import operations_cards as model_cards
from bough.registry import operations_signing as model_signing
from bough.scaling import operations as scaling
from bough.scaling import showing as scaling_views
from bough.secrets import operations as secrets
from bough.serving import exposure
from bough.serving import operations as serving
from bough.tracking import operations as runs
from bough.tracking import operations_artifacts as run_artifacts
from bough.tracking import operations_experiments as experiments
from bough.tracking import operations_traces as run_traces
from bough.webhooks import operations as webhooks

OPERATION_MODULES: list[ModuleType] = [
    *(access, secrets, environments, branches, data, data_space, upkeep, erasure, forgetting, retention),
    *(tables, table_schemas, table_queries, table_erasing),
    *(gates, promotions, optimizing, jobs),
    *(scaling, scaling_views),
    *(models, model_signing, model_cards, serving, exposure, traffic, pushes, forges),
    *(mirrors, baselines, ledger, lineage, platform),
    *(runs, run_artifacts, run_traces, experiments, queues),
    *(databases, database_states),
    *(capacity, costs, webhooks),
]
