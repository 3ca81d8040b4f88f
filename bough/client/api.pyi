"""Generated from the operations by `python -m bough.entrypoints.reference --write`."""

import builtins
from collections.abc import Iterator
from typing import Any

from bough.client.record import Record

class Accepted(Record):
    edges: int
    new: int

class Advice(Record):
    service: str
    requests: int
    hours: float
    looked_at: float
    tolerated: float
    service_s: float
    proposals: builtins.list[Proposal]
    setting: str

class AnswerDifference(Record):
    path: str
    source: Any
    target: Any

class Approval(Record):
    promotion: str
    by: str
    at: float
    digest: str
    evidence: str
    expires_at: float
    why: str

class ApprovedBy(Record):
    by: str
    at: float
    why: str
    entry: int

class Arrow(Record):
    source: str
    target: str
    how: str

class Artifact(Record):
    path: str
    folder: bool
    size: int
    digest: str

class Assessment(Record):
    id: str
    trace: str
    kind: Any
    name: str
    created_at: float
    updated_at: float
    value: Any
    source: str
    by: str
    span: str
    rationale: str
    error: dict[str, str]
    metadata: dict[str, str]
    overrides: str
    valid: bool

class AuditEntry(Record):
    seq: int
    at: float
    principal: str
    operation: str
    subject: str
    outcome: str
    milliseconds: float
    request_digest: str

class Baseline(Record):
    project: str
    name: str
    by: str
    at: float
    measured: dict[str, dict[str, float]]

class BaselineChange(Record):
    name: str
    metric: str
    baseline: float
    now: float
    change_percent: float

class Batch(Record):
    max_size: int
    max_wait_ms: float

class Bill(Record):
    packages: dict[str, str]
    vulnerabilities: builtins.list[Vulnerability]
    document: dict[str, Any]

class Bin(Record):
    label: str
    before: float
    after: float

class Branched(Record):
    environment: EnvironmentView
    created: bool

class BucketSink(Record):
    url: str
    endpoint: str
    region: str
    key: str
    secret: str

class BucketSource(Record):
    url: str
    endpoint: str
    region: str
    key: str
    secret: str
    content: Any
    delete: bool
    start: str
    every_s: float

class BudgetState(Record):
    project: str
    environment: str
    month: str
    budget: float
    spent: float
    state: str

class Card(Record):
    version: Version
    trust: str
    trusted_by: str
    serves: builtins.list[str]
    happened: builtins.list[Happened]
    gates: builtins.list[Happened]
    approvals: builtins.list[Happened]
    promotions: builtins.list[Happened]
    drift: builtins.list[Happened]
    explanation: dict[str, Any] | None
    packages: int
    vulnerabilities: builtins.list[Vulnerability]

class CardPage(Record):
    card: Card
    text: str

class CenterCost(Record):
    cost_center: str
    environment: str
    job: str
    runs: int
    seconds: float
    cost: float

class Change(Record):
    what: str
    name: str
    action: str
    restarts: bool
    files: bool
    # keys: dict[str, builtins.list[Any]]
    policy: dict[str, Any]

class Changed(Record):
    kind: str
    name: str
    action: str
    fields: dict[str, builtins.list[Any]]

class Changeover(Record):
    usual_s: float
    most_s: float
    measured: int

class Collected(Record):
    layers: int
    entries: int
    blobs: int
    bytes: int
    young_blobs: int
    young_bytes: int
    kept_blobs: int
    kept_bytes: int
    dry_run: bool

class ColumnDifference(Record):
    name: str
    type: str
    before: Side
    after: Side
    shift: float
    bins: builtins.list[Bin]

class ColumnView(Record):
    id: int
    name: str
    type: str
    nullable: bool
    key: bool

class Committed(Record):
    change: int
    written: int
    removed: int
    same: int
    bytes: int

class Compared(Record):
    runs: builtins.list[Run]
    differences: builtins.list[Comparison]
    picture: str

class ComparedSide(Record):
    environment: str
    answers: int
    errors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_s_per_1000: float

class Comparison(Record):
    what: str
    key: str
    # values: builtins.list[str]

class ConflictView(Record):
    id: str
    ours: str
    theirs: str

class Consistency(Record):
    first: int
    first_root: str
    path: builtins.list[str]
    head: LedgerHead

class Contender(Record):
    name: str
    score: float
    bytes: int
    p50_ms: float
    p95_ms: float
    core_s: float
    cost: float
    loss: float
    worst: float
    passed: bool
    said: str

class Cors(Record):
    origins: builtins.list[str]
    headers: builtins.list[str]
    credentials: bool
    age_s: int

class Cost(Record):
    replica_s: float
    cores: float
    core_hour: float
    per_1000: float

class CostGroup(Record):
    name: str
    workloads: int
    seconds: float
    cpu_s: float
    gpu_s: float
    cost: float
    share: float

class CostLine(Record):
    project: str
    cost_center: str
    environment: str
    kind: str
    workload: str
    tags: dict[str, str]
    seconds: float
    cpu_s: float
    gpu_s: float
    cost: float

class CostReport(Record):
    since: float
    by: str
    seconds: float
    cpu_s: float
    gpu_s: float
    cost: float
    groups: builtins.list[CostGroup]
    lines: builtins.list[CostLine]

class CurvePoint(Record):
    at: float
    requests: int
    active: int
    starting: int
    pool: int
    late_cost: float

class DataGate(Record):
    rows: int
    max_missing: float
    max_psi: float
    max_ks: float
    outside: float
    ignore: builtins.list[str]

class DataVersion(Record):
    change: int
    changed_at: float
    by: str
    why: str
    bytes: int
    new_bytes: int

class DatabaseBackup(Record):
    name: str
    engine: str
    digest: str
    size: int

class DatabasePlan(Record):
    name: str
    engine: str
    way: str
    about: str
    size: int
    seconds: float
    bytes: int
    held_ms: float
    first_read_bytes: int
    first_read_seconds: float
    first_write_bytes: int
    first_write_seconds: float

class DatabaseRemoved(Record):
    name: str
    environment: str
    snapshot: str

class DatabaseUrl(Record):
    name: str
    variable: str
    url: str

class DatabaseView(Record):
    project: str
    environment: str
    name: str
    engine: str
    way: str
    state: str
    url: str
    variable: str
    bytes: int
    made_at: float
    held_ms: float
    mask: str
    migrations: builtins.list[str]
    policies: dict[str, dict[str, str]]
    failure: dict[str, Any]

class Decision(Record):
    deployment: str
    at: float
    active: int
    pool: int
    why: str
    needs: dict[str, float]
    seen: Observation
    late_cost: float

class Deleted(Record):
    traces: int

class Distill(Record):
    teacher: str
    data: str
    label: str
    hidden: builtins.list[str]
    answer: str
    metric: Any
    max_loss: float

class Done(Record):
    pass

class Earlier(Record):
    name: str
    kind: str
    bytes: int

class EnvironmentDetail(Record):
    environment: EnvironmentView
    services: builtins.list[str]
    sealed: builtins.list[str]
    ahead: dict[str, int]
    behind: dict[str, int]
    own_bytes: int
    children: builtins.list[str]

class EnvironmentDiff(Record):
    environment: str
    against: str
    parent_moved: bool
    counts: dict[str, dict[str, int]]
    changes: builtins.list[Changed]

class EnvironmentView(Record):
    project: str
    name: str
    created_at: float
    release: int
    parent: str
    branch: str
    created_by: str
    ttl_s: float
    expires_at: float
    protected: bool
    paused: bool
    budget: float

class ErasedEntry(Record):
    kind: str
    key: str
    layer: int
    change: int
    seen_in: builtins.list[str]
    digests: builtins.list[str]

class EvaluationGate(Record):
    data: str
    label: str
    hidden: builtins.list[str]
    answer: str
    metric: Any
    min: float | None
    max: float | None
    worse: float | None
    confidence: float
    rounds: int
    seed: int
    groups: builtins.list[str]
    max_gap: float
    rows: int

class Event(Record):
    seq: int
    at: float
    name: str
    subject: str
    data: dict[str, Any]

class Example(Record):
    id: str
    at: float
    differences: builtins.list[AnswerDifference]

class Experiment(Record):
    id: str
    project: str
    name: str
    state: str
    location: str
    created_at: float
    updated_at: float
    tags: dict[str, str]

class ExperimentPage(Record):
    experiments: builtins.list[Experiment]
    next_page: str

class ExportedFile(Record):
    path: str
    blob: str
    bytes: int
    rewritten: bool

class Exposed(Record):
    project: str
    environment: str
    name: str
    what: str
    ports: builtins.list[int]
    reached_from: str
    asks_for: str
    tls: str
    allow: builtins.list[str]
    scopes: builtins.list[str]
    limits: dict[str, str]

class Exposure(Record):
    public_services: bool
    listeners: builtins.list[Listener]
    services: builtins.list[Exposed]

class Facts(Record):
    run: str
    commit: str
    bundle: str
    python_environment: str
    parent: str
    inputs: builtins.list[Input]
    parameters: dict[str, str]
    metrics: dict[str, float]
    packages: dict[str, str]
    more: dict[str, Any]

class FieldDifferences(Record):
    path: str
    different: int
    mean: float
    largest: float

class Figures(Record):
    requests: int
    errors: int
    error_rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float

class File(Record):
    path: str
    digest: str
    size: int
    executable: bool

class FileChange(Record):
    change: int
    changed_at: float
    by: str
    why: str
    written: int
    removed: int
    digest: str

class FileDifference(Record):
    path: str
    action: str
    before: str
    after: str
    before_bytes: int
    after_bytes: int

class ForgeAdded(Record):
    link: ForgeLink
    webhook_url: str
    webhook_secret: str

class ForgeDelivery(Record):
    link: str
    delivery: str
    kind: str
    about: str
    outcome: str
    at: float

class ForgeLink(Record):
    id: str
    project: str
    kind: str
    repository: str
    url: str
    secret: str
    token: str
    forks: str
    branches: builtins.list[str]
    by: str
    at: float

class Forward(Record):
    queue: str
    url: str
    authorization: str
    project: str
    environment: str

class Found(Record):
    versions: builtins.list[Version]
    more: str

class GateResult(Record):
    gate: str
    passed: bool
    said: str
    figures: dict[str, Any]
    evidence: str

class GateRun(Record):
    id: str
    project: str
    environment: str
    name: str
    number: int
    digest: str
    version: str
    gates: Gates
    policy: str
    state: str
    by: str
    started_at: float
    against: Subject | None
    results: builtins.list[GateResult]
    finished_at: float

class Gates(Record):
    metrics: dict[str, MetricGate]
    signature: bool
    max_size_mb: float
    scan: bool
    allow: builtins.list[str]
    evaluation: EvaluationGate | None
    data: DataGate | None
    load: LoadGate | None
    checks: builtins.list[str]

class Happened(Record):
    at: float
    what: str
    by: str
    why: str
    data: dict[str, Any]

class Held(Record):
    environment: str
    name: str
    kind: str
    bytes: int
    shared_bytes: int
    exclusive_bytes: int

class HttpSource(Record):
    url: str
    authorization: str
    list: str
    cursor: str
    start: int | str
    every_s: float

class Inclusion(Record):
    entry: LedgerEntry
    line: str
    path: builtins.list[str]
    head: LedgerHead

class Input(Record):
    kind: str
    name: str
    version: str
    digest: str
    role: str

class InputName(Record):
    experiment_id: str
    name: str
    version: str
    context: str

class ItemView(Record):
    id: str
    state: str
    attempts: int
    queued_at: float
    body: Any
    due_at: float
    ended_at: float
    forgotten_at: float
    priority: int
    key: str
    dedup: str
    status: int
    error: str
    result: Any

class ItemsMoved(Record):
    moved: int

class Job(Record):
    command: str
    dockerfile: str
    docker: str
    path: str
    requirements: str
    python: str
    env: dict[str, str]
    data: builtins.list[str]
    resources: Resources
    cost_center: str
    tags: dict[str, str]
    grace_s: float
    kind: str
    timeout_s: float
    retries: Retries | int
    capacity: str
    deadline_s: float
    work_s: float
    priority: int
    queue: str
    schedule: str
    timezone: str
    catch_up: str
    after: builtins.list[str]
    params: dict[str, bool | float | int | str]
    source: NewObjects | None
    target: Objects | None
    checkpoints: Objects | None
    array: int
    sweep: Sweep
    processes: Processes | int
    heartbeat_s: float
    register: str
    distill: Distill
    output: str

class JobManifest(Record):
    settings: Job
    bundle: str
    secrets: dict[str, str]
    links: dict[str, str]

class JobNews(Record):
    kind: str
    at: float
    id: str
    state: str
    text: str
    cursor: str
    run: JobRunView | None

class JobPlan(Record):
    cost: float
    low: float
    high: float
    on_demand_cost: float
    saving: float
    done_after_h: float
    losses: float
    only_spot: float
    some_on_demand: float
    only_on_demand: float
    missed: float
    zones: builtins.list[str]
    left_out: builtins.list[str]
    first: str
    changeover: Changeover
    speed: float
    across_h: float
    up_h: float
    work_h: float
    age_h: float
    available: builtins.list[str]
    away: builtins.list[str]

class JobProgress(Record):
    step: int
    total: int
    saved_step: int
    step_s: float
    left_s: float
    samples_per_s: float
    read_bytes: int
    read_mb_per_s: float
    waited: float
    said: str

class JobRunDetail(Record):
    run: JobRunView
    timeline: builtins.list[Moment]
    progress: JobProgress | None
    runs: builtins.list[JobRunView]
    totals: dict[str, int]
    best: str
    checkpoints: str
    log: str

class JobRunView(Record):
    id: str
    project: str
    environment: str
    job: str
    state: str
    said: str
    by: str
    created_at: float
    release: int
    group: str
    index: int
    children: int
    params: dict[str, bool | float | int | str]
    start_from: str
    queue: str
    priority: int
    started_at: float
    finished_at: float
    attempt: int
    size: int
    devices: builtins.list[str]
    run: str
    cost_center: str
    seconds: float
    cost: float
    capacity: str
    slot: float
    failure: dict[str, Any]

class JobSaving(Record):
    job: str
    runs: int
    leases: int
    spot_h: float
    on_demand_h: float
    wasted_h: float
    cost: float
    on_demand_cost: float
    saving: float
    pools: builtins.list[PoolSaving]

class Judging(Record):
    data: str
    label: str
    hidden: builtins.list[str]
    answer: str
    metric: Any
    max_loss: float
    rows: int
    core_hour: float

class KeepRule(Record):
    requests: int
    days: float
    drop: builtins.list[str]
    hash: builtins.list[str]

class KeyView(Record):
    id: str
    project: str
    services: builtins.list[str]
    label: str
    created_at: float
    expires_at: float
    revoked: bool
    scopes: builtins.list[str]
    tenant: str
    priority: str
    quota: str
    environments: builtins.list[str]

class LedgerEntry(Record):
    number: int
    previous: str
    at: float
    project: str
    environment: str
    action: str
    subject: str
    by: str
    why: str
    evidence: dict[str, Any]
    hash: str

class LedgerHead(Record):
    size: int
    root: str
    note: str
    key: str

class LedgerLine(Record):
    line: str

class LedgerVerified(Record):
    entries: int
    root: str
    key: str
    seconds: float

class Lineage(Record):
    start: str
    things: builtins.list[Thing]
    arrows: builtins.list[Arrow]
    more: builtins.list[str]
    svg: str

class Listed(Record):
    path: str
    kind: str
    files: int
    bytes: int
    digest: str
    executable: bool

class Listener(Record):
    part: str
    address: str
    protocol: str
    reached_from: str
    asks_for: str

class LoadGate(Record):
    data: str
    requests: int
    concurrency: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    min_per_s: float
    max_error_rate: float

class LogLine(Record):
    service: str
    unit: str
    attempt: int
    offset: int
    text: str
    cursor: str

class LoggedModel(Record):
    id: str
    name: str
    project: str
    experiment_id: str
    status: str
    created_at: float
    updated_at: float
    location: str
    kind: str
    run: str
    by: str
    message: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: builtins.list[RunMetricOfModel]

class LoggedModelPage(Record):
    models: builtins.list[LoggedModel]
    next_page: str

class Manifest(Record):
    project: str
    services: dict[str, ServiceManifest]
    jobs: dict[str, JobManifest]
    models: dict[str, ModelPolicy]
    queues: dict[str, Queue]

class Merge(Record):
    into: str
    fast_forward: bool
    merged: dict[str, int]
    conflicts: builtins.list[ConflictView]
    migrations: dict[str, builtins.list[str]]
    release: Release | None
    dry_run: bool

class MergedBranch(Record):
    environment: str
    into: str
    by: str
    at: float
    seconds: float

class Merges(Record):
    merges: builtins.list[MergedBranch]
    median_s: float
    slowest_s: float

class Metric(Record):
    key: str
    value: Any | float
    timestamp_ms: int
    step: int
    model: str
    dataset: str
    dataset_digest: str

class MetricGate(Record):
    min: float | None
    max: float | None
    worse: float | None
    higher_is_better: bool

class MetricPage(Record):
    metrics: builtins.list[Metric]
    next_page: str

class Migrated(Record):
    name: str
    environment: str
    ran: builtins.list[str]

class Mirror(Record):
    id: str
    project: str
    environment: str
    target: str
    service: str
    percent: float
    tolerance: float
    state: str
    by: str
    started_at: float
    until: float
    stopped_at: float
    cpu_before: dict[str, float]
    cpu_after: dict[str, float]

class Model(Record):
    name: str
    created_at: float
    updated_at: float
    by: str
    newest: int
    description: str
    tags: dict[str, str]
    aliases: dict[str, int]

class ModelPin(Record):
    name: str
    version: int
    id: str
    digest: str

class ModelPolicy(Record):
    gates: Gates
    promotion: PromotionPolicy
    previews: PreviewPolicy | None

class ModelSignature(Record):
    inputs: builtins.list[Tensor]
    outputs: builtins.list[Tensor]

class ModelThen(Record):
    name: str
    alias: str
    version: int
    digest: str
    since: float
    by: str
    why: str
    promotion: str
    approved: builtins.list[ApprovedBy]
    gates: dict[str, str]
    trained_on: builtins.list[dict[str, Any]]
    run: str
    entry: int

class Moment(Record):
    at: float
    what: str
    said: str
    data: dict[str, Any]

class Named(Record):
    kind: str
    key: str
    done: str

class NewKey(Record):
    id: str
    project: str
    secret: str
    expires_at: float
    not_there_yet: builtins.list[str]

class NewObjects(Record):
    url: str
    endpoint: str
    region: str
    key: str
    secret: str
    start: str

class NewToken(Record):
    id: str
    principal: str
    secret: str
    expires_at: float

class Nothing(Record):
    pass

class Objective(Record):
    latency_s: float
    within: float
    kept: bool

class Objects(Record):
    url: str
    endpoint: str
    region: str
    key: str
    secret: str

class Observation(Record):
    at: float
    arrived: int
    begun: int
    late: int
    service_s: float
    in_flight: float
    queued: int
    oldest_s: float
    active: int
    starting: int
    pool: int
    pool_starting: int
    slots: int
    cpu: float
    gpu: float
    latency_s: float

class Optimization(Record):
    id: str
    project: str
    environment: str
    kind: str
    model: str
    parent: str
    becomes: str
    method: str
    calibration: str
    judging: Judging
    aliases: builtins.list[str]
    student: str
    run: str
    state: str
    by: str
    started_at: float
    contenders: builtins.list[Contender]
    chosen: str
    said: str
    version: int
    finished_at: float

class Page(Record):
    files: builtins.list[File]
    change: int

class Plan(Record):
    project: str
    environment: str
    digest: str
    same: bool
    changes: builtins.list[Change]

class PlatformStatus(Record):
    home: str
    gateway_url: str
    api_url: str
    node: bool
    gateway: bool
    units: int
    generation: int
    lanes: builtins.list[dict[str, Any]]

class PoolPrice(Record):
    pool: str
    zone: str
    kind: str
    accelerator: str
    price_per_h: float
    on_demand_per_h: float
    saving: float
    available: bool
    for_h: float
    stays_h: float
    seen_h: float
    seen_available: float

class PoolSaving(Record):
    pool: str
    kind: str
    leases: int
    hours: float
    cost: float
    on_demand_cost: float
    saving: float

class Preempted(Record):
    run: str
    pool: str
    zone: str
    kind: str
    ends_at: float

class Preview(Record):
    id: str
    link: str
    project: str
    number: int
    branch: str
    commit: str
    base: str
    fork: bool
    title: str
    author: str
    url: str
    open: bool
    seen_at: float
    changed_at: float
    state: str
    environment: str
    deployed: str
    release: int
    why: str
    allowed: str
    comment: str
    shown: str
    failures: int

class PreviewPolicy(Record):
    gates: Gates
    approvals: int

class PrincipalView(Record):
    id: str
    name: str
    role: str
    created_at: float

class Processes(Record):
    min: int
    max: int

class Progress(Record):
    kind: str
    at: float
    service: str
    state: str
    text: str
    data: dict[str, Any]

class Promotion(Record):
    id: str
    project: str
    environment: str
    source: str
    name: str
    number: int
    version: str
    digest: str
    registered_by: str
    state: str
    policy: PromotionPolicy
    needed: int
    by: str
    why: str
    created_at: float
    changed_at: float
    gate_run: str
    evidence: str
    step: int
    base: str
    before: int
    deployments: dict[str, str]
    watch: Watch
    failure: dict[str, Any]
    finished_at: float

class PromotionDetail(Record):
    promotion: Promotion
    approvals: builtins.list[Approval]
    counting: int

class PromotionPolicy(Record):
    steps: builtins.list[float]
    watch_s: float
    shadow_s: float
    min_requests: int
    max_error_rate: float
    max_p95_ms: float
    max_p95_ratio: float
    max_cost_ratio: float
    approvals: int
    approvers: builtins.list[str]
    four_eyes: bool
    expire_h: float
    signed: bool
    sticky: str

class PromotionProgress(Record):
    at: float
    id: str
    state: str
    percent: float
    watched_s: float
    candidate_requests: int
    candidate_errors: int
    champion_requests: int
    champion_errors: int
    missing: int

class Proof(Record):
    project: str
    dataset: str
    path: str
    erased_at: float
    by: str
    entries: builtins.list[ErasedEntry]
    deleted_blobs: builtins.list[str]
    remains: builtins.list[str]
    elsewhere: builtins.list[Named]

class Proposal(Record):
    min: int
    max: int
    warm: int
    late_cost: float
    cost: float
    late: float
    replicas: int
    chosen: bool

class Push(Record):
    project: str
    environment: str
    branch: str
    state: str
    seconds: float
    by: str
    at: float
    commit: str
    release: int
    why: str

class Pushes(Record):
    pushes: builtins.list[Push]
    live: int
    median_s: float
    slowest_s: float

class QueryColumn(Record):
    name: str
    type: str

class QueryResult(Record):
    columns: builtins.list[QueryColumn]
    rows: builtins.list[builtins.list[Any]]
    more: bool
    blob: str
    bytes: int

class Queue(Record):
    handler: str
    batch: QueueBatch
    concurrency: int
    retries: int
    retry_s: float
    retry_max_s: float
    visibility_s: float
    max_waiting: int
    keep_s: float
    dedup_s: float
    keep_dead_s: float
    access: str
    webhook: str
    webhook_secret: str
    schedule: str
    payload: str
    on: builtins.list[str]
    source: SqlSource | None
    poll: HttpSource | None
    bucket: BucketSource | None
    sink: SqlSink | None
    archive: BucketSink | None
    forward: Forward | None

class QueueBatch(Record):
    max_size: int
    max_wait_ms: float

class QueueDetail(Record):
    queue: QueueView
    settings: Queue | None
    telling: builtins.list[Telling]

class QueueView(Record):
    queue: str
    handler: str
    waiting: int
    running: int
    delayed: int
    dead: int
    behind: int
    oldest_s: float
    declared: bool
    url: str

class RanThen(Record):
    project: str
    environment: str
    at: float
    release: ReleaseThen | None
    models: builtins.list[ModelThen]

class Range(Record):
    min: float | int
    max: float | int
    log: bool

class RateLimits(Record):
    route: str
    key: str
    tenant: str

class Rekeyed(Record):
    master: str
    envelopes: int
    kept: builtins.list[str]
    broken: builtins.list[str]

class Release(Record):
    id: str
    project: str
    environment: str
    number: int
    digest: str
    state: str
    created_at: float
    created_by: str
    message: str
    commit: str
    finished_at: float
    rolled_back_to: int
    failure: dict[str, Any]

class ReleaseDetail(Record):
    release: Release
    manifest: Manifest

class ReleaseThen(Record):
    number: int
    digest: str
    since: float
    by: str
    commit: str
    rolled_back_to: int
    models: dict[str, Any]
    entry: int

class Removed(Record):
    files: int

class Replay(Record):
    id: str
    project: str
    environment: str
    target: str
    service: str
    count: int
    tolerance: float
    both: bool
    state: str
    by: str
    started_at: float
    finished_at: float
    why: str
    cpu_before: dict[str, float]
    cpu_after: dict[str, float]

class ReplicaView(Record):
    unit: str
    attempt: int
    state: str
    started_at: float
    seconds_to_ready: float
    cpu_s: float
    gpu_s: float
    memory_bytes: int
    devices: builtins.list[str]
    waits: str
    exit: dict[str, Any]

class Resources(Record):
    cpus: float
    memory_mb: int
    gpus: float | int
    accelerators: builtins.list[str]

class ResponseCache(Record):
    size_mb: float
    age_s: float

class Retention(Record):
    dataset: str
    days: float
    at: float
    by: str

class Retries(Record):
    capacity: int
    error: int
    timeout: int

class Run(Record):
    id: str
    name: str
    project: str
    environment: str
    experiment: str
    experiment_id: str
    by: str
    status: str
    state: str
    started_at: float
    location: str
    ended_at: float
    seconds: float
    source: Source
    params: dict[str, str]
    metrics: builtins.list[Metric]
    tags: dict[str, str]
    inputs: builtins.list[RunInput]
    outputs: builtins.list[RunOutput]

class RunInput(Record):
    kind: str
    name: str
    version: str
    context: str
    source_type: str
    source: str
    schema: str
    profile: str
    tags: dict[str, str]

class RunMetric(Record):
    run: str
    key: str
    value: Any | float
    timestamp_ms: int
    step: int

class RunMetricOfModel(Record):
    run: str
    key: str
    value: Any | float
    timestamp_ms: int
    step: int
    dataset: str
    dataset_digest: str

class RunOutput(Record):
    model: str
    step: int

class RunPage(Record):
    runs: builtins.list[Run]
    next_page: str

class Scale(Record):
    min: int
    max: int
    target: float
    latency: float
    late_cost: float
    signals: builtins.list[str]
    steps: builtins.list[Step]
    warm: int
    buffer: int
    cooldown: float
    schedule: builtins.list[Slot]
    budget: float

class ScaleChange(Record):
    at: float
    active: int
    pool: int
    why: str
    needs: dict[str, float]
    late_cost: float

class ScalingView(Record):
    service: str
    active: int
    pool: int
    least: int
    most: int
    awake_s: float
    decisions: builtins.list[Decision]
    curve: builtins.list[CurvePoint]

class ScheduleView(Record):
    job: str
    schedule: str
    timezone: str
    catch_up: str
    next_at: float
    missed: int
    paused: bool

class Sealing(Record):
    project: str
    environment: str
    sealed: bool
    secrets: builtins.list[SecretView]

class SecretVersion(Record):
    version: int
    environment: str
    at: float
    by: str
    removed: bool

class SecretView(Record):
    name: str
    version: int
    environment: str
    source: str
    at: float
    by: str
    services: builtins.list[str]

class SecretsSet(Record):
    project: str
    environment: str
    secrets: builtins.list[SecretView]
    services: builtins.list[str]
    release: int
    release_id: str

class Service(Record):
    command: str
    dockerfile: str
    docker: str
    path: str
    requirements: str
    python: str
    env: dict[str, str]
    data: builtins.list[str]
    resources: Resources
    cost_center: str
    tags: dict[str, str]
    grace_s: float
    model: str
    models: dict[str, str]
    file: str
    loader: str
    trust: bool
    preload: str
    direct: bool
    replicas: int
    scale: Scale
    batch: Batch
    concurrency: int
    timeout_s: float
    queue_size: int
    max_body_mb: float
    idempotent: bool
    access: str
    allow: builtins.list[str]
    tls: str
    scopes: builtins.list[str]
    issuers: builtins.list[TokenIssuer]
    limits: RateLimits
    priority: str
    split: builtins.list[SplitRule]
    sticky: str
    deterministic: bool
    cache: ResponseCache
    cors: Cors
    keep: KeepRule
    route: str
    api: str
    deprecated: bool | str
    sunset: str | None
    breaking: str
    port: int
    health: str
    health_timeout_s: float
    openai: str
    mock: bool
    mock_latency_ms: float
    sleep_after_s: float
    sample_per_s: int

class ServiceComparison(Record):
    service: str
    seen: int
    compared: int
    left_out: int
    same: int
    source: ComparedSide
    target: ComparedSide
    statuses: dict[str, int]
    fields: builtins.list[FieldDifferences]
    examples: builtins.list[Example]

class ServiceManifest(Record):
    settings: Service
    bundle: str
    digest: str
    secrets: dict[str, str]
    links: dict[str, str]
    models: dict[str, ModelPin]

class ServiceTraffic(Record):
    project: str
    environment: str
    service: str
    since: float
    requests: int
    per_s: float
    # items: int
    items_per_s: float
    replicas: int
    batches: int
    per_batch: float
    late: int
    versions: builtins.list[VersionTraffic]
    starts: builtins.list[StartTraffic]
    cost: Cost
    objective: Objective | None

class ServiceView(Record):
    project: str
    environment: str
    service: str
    kind: str
    release: int
    deployment: str
    state: str
    ready: int
    wanted: int
    url: str
    address: str
    failure: dict[str, Any]
    replicas: builtins.list[ReplicaView]

class Side(Record):
    count: int
    nulls: int
    distinct: int
    least: Any
    greatest: Any
    mean: float | None

class SignedBy(Record):
    key: str
    signer: str
    at: float
    by: str
    bundle: str

class Signer(Record):
    project: str
    key: str
    name: str
    provider: str
    reference: str
    public_key: str
    state: str
    automatic: bool
    created_at: float
    by: str
    ended_at: float
    why: str

class Simulation(Record):
    name: str
    policy: str
    seconds: int
    requests: int
    cost: float
    least: float
    late: float
    mean_wait_s: float
    most: int
    curve: builtins.list[CurvePoint]
    reasons: dict[str, int]
    changes: builtins.list[ScaleChange]

class Slot(Record):
    at: str
    until: str
    min: int
    days: str

class SnapshotView(Record):
    id: str
    name: str
    environment: str
    at: float
    by: str
    why: str
    tag: str

class Source(Record):
    commit: str
    dirty: bool
    repository: str
    program: str
    bundle: str
    python_environment: str
    hardware: dict[str, Any]

class Space(Record):
    project: str
    bytes: int
    held: builtins.list[Held]
    earlier: builtins.list[Earlier]
    versions: builtins.list[DataVersion]
    advice: builtins.list[SpaceAdvice]

class SpaceAdvice(Record):
    bytes: int
    why: str
    command: str

class Span(Record):
    id: str
    name: str
    started_ns: int
    ended_ns: int
    parent: str
    type: str
    status: Any
    message: str
    attributes: dict[str, Any]
    events: builtins.list[SpanEvent]
    links: builtins.list[SpanLink]

class SpanEvent(Record):
    name: str
    at_ns: int
    attributes: dict[str, Any]

class SpanLink(Record):
    trace: str
    span: str
    attributes: dict[str, Any]

class SplitRule(Record):
    to: str
    percent: float
    header: str
    value: str
    # keys: builtins.list[str]
    copies: bool

class SqlSink(Record):
    url: str
    statement: str

class SqlSource(Record):
    url: str
    query: str
    cursor: str
    start: int | str
    every_s: float

class StageView(Record):
    state: str
    percent: float
    began_at: float
    ended_at: float
    watched_s: float
    candidate: Figures
    champion: Figures

class StartTraffic(Record):
    kind: str
    count: int
    mean_ms: float

class Status(Record):
    project: str
    environment: str
    release: int
    rollout: dict[str, Any]
    services: builtins.list[ServiceView]

class Step(Record):
    signal: Any
    reaches: float
    add: int
    for_s: float
    again_s: float

class Subject(Record):
    name: str
    number: int
    digest: str
    id: str

class Sweep(Record):
    grid: dict[str, builtins.list[bool | float | int | str]]
    random: dict[str, Range | builtins.list[bool | float | int | str]]
    count: int
    seed: int
    parallel: int
    metric: str
    goal: str
    stop_after: int

class TableCommit(Record):
    seq: int
    at: float
    by: str
    why: str
    rows: int
    files: int
    bytes: int
    gone: bool

class TableDifference(Record):
    name: str
    rows_before: int
    rows_after: int
    added: int
    removed: int
    changed: int
    schema: builtins.list[str]
    columns: builtins.list[ColumnDifference]
    examples: dict[str, builtins.list[str]]
    picture: str

class TableView(Record):
    project: str
    environment: str
    name: str
    rows: int
    bytes: int
    files: int
    deleted: int
    columns: builtins.list[ColumnView]
    changed: int
    compact: bool

class Tag(Record):
    name: str
    environment: str
    change: int
    created_at: float
    by: str

class TakenObject(Record):
    bucket: str
    key: str
    etag: str
    size: int

class Tally(Record):
    requests: int
    errors: int
    buckets: builtins.list[int]
    cpu_s: float
    raw: dict[str, Any]

class Telling(Record):
    to: str
    waiting: int
    said: str

class Tensor(Record):
    name: str
    datatype: str
    shape: builtins.list[int]

class Thing(Record):
    id: str
    kind: str
    name: str
    project: str
    version: str
    details: dict[str, str]

class Timeline(Record):
    promotion: str
    project: str
    environment: str
    name: str
    state: str
    why: str
    now: float
    versions: builtins.list[VersionView]
    stages: builtins.list[StageView]
    gates: builtins.list[GateResult]

class TokenIssuer(Record):
    issuer: str
    audience: str
    jwks: str
    scopes: str
    tenant: str

class TokenView(Record):
    id: str
    principal: str
    label: str
    created_at: float
    expires_at: float
    revoked: bool

class Trace(Record):
    id: str
    project: str
    experiment_id: str
    state: Any
    started_at: float
    seconds: float | None
    request_id: str | None
    request: str | None
    response: str | None
    metadata: dict[str, str]
    tags: dict[str, str]
    assessments: builtins.list[Assessment]
    runs: builtins.list[str]
    spans: builtins.list[Span]

class TracePage(Record):
    traces: builtins.list[Trace]
    next_page: str

class TrafficReport(Record):
    id: str
    kind: str
    project: str
    source: str
    target: str
    state: str
    started_at: float
    ended_at: float
    services: builtins.list[ServiceComparison]
    details: dict[str, Any]

class Trust(Record):
    project: str
    environment: str
    signers: builtins.list[str]
    required: bool

class Usage(Record):
    project: str
    environment: str
    blobs: int
    total_bytes: int
    shared_bytes: int
    exclusive_bytes: int

class Verification(Record):
    model: str
    digest: str
    state: str
    files: int
    bytes: int
    seconds: float
    signer: str
    key: str
    signed_at: float

class Verified(Record):
    files: int
    bytes: int
    total_files: int
    total_bytes: int
    path: str
    digest: str
    problem: str

class Version(Record):
    id: str
    name: str
    number: int
    digest: str
    files: int
    bytes: int
    created_at: float
    updated_at: float
    by: str
    environment: str
    source: str
    description: str
    tags: dict[str, str]
    stage: str
    aliases: builtins.list[str]
    signature: ModelSignature | None
    facts: Facts
    card: str
    signed: builtins.list[SignedBy]

class VersionTraffic(Record):
    release: str
    api: str
    answering: bool
    share: float
    requests: int
    # items: int
    answers: dict[str, int]
    statuses: dict[str, int]
    refused: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    last_at: float

class VersionView(Record):
    side: str
    number: int
    percent: float
    metrics: dict[str, float]
    answered: Figures

class Vulnerability(Record):
    id: str
    package: str
    version: str
    summary: str
    severity: str
    fixed: str
    aliases: builtins.list[str]

class Watch(Record):
    watched_s: float
    looked_at: float
    candidate: Tally
    champion: Tally

class WayView(Record):
    engine: str
    way: str
    about: str
    why_not: str

class Webhook(Record):
    id: str
    project: str
    url: str
    events: builtins.list[str]
    secret: str
    by: str
    at: float
    cursor: int
    told: int
    told_at: float
    tries: int
    lost: int
    said: str

class WebhookAdded(Record):
    webhook: Webhook
    signing_secret: str

class _Artifacts:
    def check(self, *, project: str, owner: str, path: str) -> Artifact: ...
    def list(self, *, project: str, owner: str, path: str = ..., all: bool = ...) -> builtins.list[Artifact]: ...
    def put(self, *, project: str, owner: str, path: str, digest: str, idempotency_key: str = ...) -> Artifact: ...
    def remove(self, *, project: str, owner: str, path: str = ..., idempotency_key: str = ...) -> Removed: ...
    def show(self, *, project: str, owner: str, path: str) -> Artifact: ...

class _Assessments:
    def create(
        self,
        *,
        project: str,
        trace: str,
        assessment: Any,
        id: str = ...,
        created_at: float = ...,
        updated_at: float = ...,
        idempotency_key: str = ...,
    ) -> Assessment: ...
    def delete(self, *, project: str, trace: str, id: str, idempotency_key: str = ...) -> Done: ...
    def show(self, *, project: str, trace: str, id: str) -> Assessment: ...
    def update(self, *, project: str, trace: str, id: str, changed: Any, idempotency_key: str = ...) -> Assessment: ...

class _Audit:
    def at(self, *, project: str, time: str, environment: str = ..., model: str = ...) -> RanThen: ...
    def export(self, *, after: int = ...) -> Iterator[LedgerLine]: ...
    def growth(self, *, first: int) -> Consistency: ...
    def head(self) -> LedgerHead: ...
    def ledger(
        self,
        *,
        project: str = ...,
        environment: str = ...,
        action: str = ...,
        subject: str = ...,
        limit: int = ...,
    ) -> builtins.list[LedgerEntry]: ...
    def list(self, *, limit: int = ...) -> builtins.list[AuditEntry]: ...
    def proof(self, *, number: int) -> Inclusion: ...
    def rekey(self, *, idempotency_key: str = ...) -> LedgerEntry: ...
    def verify(self, *, key: str = ...) -> LedgerVerified: ...

class _Baselines:
    def add(self, *, project: str, name: str, content: str, idempotency_key: str = ...) -> Baseline: ...
    def diff(self, *, project: str, name: str, against: str, side: str = ...) -> builtins.list[BaselineChange]: ...
    def list(self, *, project: str) -> builtins.list[Baseline]: ...
    def remove(self, *, project: str, name: str, idempotency_key: str = ...) -> Nothing: ...

class _Blobs:
    def missing(self, *, digests: builtins.list[str]) -> builtins.list[str]: ...

class _Capacity:
    def plan(
        self,
        *,
        work_h: float,
        deadline_h: float,
        changeover_s: float = ...,
        interval_s: float = ...,
        accelerators: builtins.list[str] = ...,
        project: str = ...,
        job: str = ...,
    ) -> JobPlan: ...
    def pools(self) -> builtins.list[PoolPrice]: ...
    def savings(self, *, project: str, job: str = ..., environment: str = ...) -> builtins.list[JobSaving]: ...

class _Chaos:
    def preempt(self, *, run: str, notice_s: float = ..., idempotency_key: str = ...) -> Preempted: ...

class _Costs:
    def budgets(self, *, project: str) -> builtins.list[BudgetState]: ...
    def show(
        self,
        *,
        project: str,
        environment: str = ...,
        days: int = ...,
        center: str = ...,
        by: str = ...,
        all_projects: bool = ...,
    ) -> CostReport: ...

class _Data:
    def erase(self, *, project: str, dataset: str, path: str = ..., idempotency_key: str = ...) -> Proof: ...
    def erasures(self, *, project: str) -> builtins.list[Proof]: ...
    def forget(
        self,
        *,
        project: str,
        text: str,
        also: builtins.list[str] = ...,
        dry_run: bool = ...,
        idempotency_key: str = ...,
    ) -> Proof: ...
    def retain(
        self,
        *,
        project: str,
        dataset: str,
        days: float,
        idempotency_key: str = ...,
    ) -> builtins.list[Retention]: ...
    def retentions(self, *, project: str) -> builtins.list[Retention]: ...
    def space(self, *, project: str, dataset: str = ..., environment: str = ...) -> Space: ...
    def usage(self, *, project: str = ...) -> builtins.list[Usage]: ...

class _Databases:
    def add(
        self,
        *,
        project: str,
        name: str,
        engine: str = ...,
        how: str = ...,
        environment: str = ...,
        content: str = ...,
        server: str = ...,
        idempotency_key: str = ...,
    ) -> DatabaseView: ...
    def backup(self, *, project: str, name: str, environment: str = ...) -> DatabaseBackup: ...
    def check(self, *, project: str, name: str, environment: str = ...) -> builtins.list[str]: ...
    def forget(self, *, project: str, id: str, idempotency_key: str = ...) -> SnapshotView: ...
    def list(self, *, project: str, environment: str = ...) -> builtins.list[DatabaseView]: ...
    def migrate(
        self,
        *,
        project: str,
        name: str,
        scripts: dict[str, str],
        environment: str = ...,
        dry_run: bool = ...,
        idempotency_key: str = ...,
    ) -> Migrated: ...
    def plan(self, *, project: str, environment: str = ...) -> builtins.list[DatabasePlan]: ...
    def policy(
        self,
        *,
        project: str,
        name: str,
        policy: str,
        columns: dict[str, str] = ...,
        environment: str = ...,
        idempotency_key: str = ...,
    ) -> DatabaseView: ...
    def remove(
        self,
        *,
        project: str,
        name: str,
        environment: str = ...,
        idempotency_key: str = ...,
    ) -> DatabaseRemoved: ...
    def reset(
        self,
        *,
        project: str,
        name: str,
        environment: str = ...,
        to: str = ...,
        idempotency_key: str = ...,
    ) -> DatabaseView: ...
    def restore(
        self,
        *,
        project: str,
        name: str,
        environment: str = ...,
        snapshot: str = ...,
        content: str = ...,
        idempotency_key: str = ...,
    ) -> DatabaseView: ...
    def show(self, *, project: str, name: str, environment: str = ...) -> DatabaseView: ...
    def snapshot(
        self,
        *,
        project: str,
        name: str,
        environment: str = ...,
        message: str = ...,
        idempotency_key: str = ...,
    ) -> SnapshotView: ...
    def snapshots(self, *, project: str, name: str = ...) -> builtins.list[SnapshotView]: ...
    def url(self, *, project: str, name: str, environment: str = ...) -> DatabaseUrl: ...
    def variables(self, *, project: str, environment: str = ...) -> dict[str, str]: ...
    def ways(self, *, engine: str = ...) -> builtins.list[WayView]: ...

class _Environments:
    def change(
        self,
        *,
        project: str,
        branch: str,
        ttl: str = ...,
        budget: float = ...,
        paused: str = ...,
        idempotency_key: str = ...,
    ) -> EnvironmentView: ...
    def create(
        self,
        *,
        project: str,
        branch: str,
        source: str = ...,
        ttl: str = ...,
        sealed: bool = ...,
        mask: str = ...,
        idempotency_key: str = ...,
    ) -> Branched: ...
    def diff(
        self,
        *,
        project: str,
        branch: str,
        against: str = ...,
        kinds: builtins.list[str] = ...,
    ) -> EnvironmentDiff: ...
    def discard(self, *, project: str, branch: str, idempotency_key: str = ...) -> EnvironmentView: ...
    def list(self, *, project: str = ...) -> builtins.list[EnvironmentView]: ...
    def merge(
        self,
        *,
        project: str,
        branch: str,
        into: str = ...,
        ours: bool = ...,
        theirs: bool = ...,
        per_key: dict[str, str] = ...,
        kinds: builtins.list[str] = ...,
        with_secrets: bool = ...,
        dry_run: bool = ...,
        message: str = ...,
        idempotency_key: str = ...,
    ) -> Merge: ...
    def merges(self, *, project: str, limit: int = ...) -> Merges: ...
    def protect(
        self,
        *,
        project: str,
        branch: str,
        off: bool = ...,
        idempotency_key: str = ...,
    ) -> EnvironmentView: ...
    def reset(self, *, project: str, branch: str, to: str = ..., idempotency_key: str = ...) -> Merge: ...
    def show(self, *, project: str, branch: str) -> EnvironmentDetail: ...
    def status(self, *, project: str, environment: str = ...) -> Status: ...

class _Events:
    def list(self, *, after: int = ..., limit: int = ...) -> builtins.list[Event]: ...

class _Experiments:
    def begin(self, *, project: str, idempotency_key: str = ...) -> Experiment: ...
    def create(
        self,
        *,
        project: str,
        name: str,
        location: str = ...,
        tags: dict[str, str] = ...,
        idempotency_key: str = ...,
    ) -> Experiment: ...
    def delete(self, *, project: str, id: str, idempotency_key: str = ...) -> Experiment: ...
    def list(
        self,
        *,
        project: str,
        filter: str = ...,
        order: builtins.list[str] = ...,
        state: str = ...,
        limit: int = ...,
        page: str = ...,
    ) -> ExperimentPage: ...
    def named(self, *, project: str, name: str) -> Experiment: ...
    def rename(self, *, project: str, id: str, name: str, idempotency_key: str = ...) -> Experiment: ...
    def restore(self, *, project: str, id: str, idempotency_key: str = ...) -> Experiment: ...
    def show(self, *, project: str, id: str) -> Experiment: ...
    def tag(
        self,
        *,
        project: str,
        id: str,
        tags: dict[str, str] = ...,
        remove: builtins.list[str] = ...,
        idempotency_key: str = ...,
    ) -> Experiment: ...

class _Files:
    def commit(
        self,
        *,
        project: str,
        dataset: str,
        files: Any = ...,
        listed: str = ...,
        remove: builtins.list[str] = ...,
        environment: str = ...,
        message: str = ...,
        since: int = ...,
        idempotency_key: str = ...,
    ) -> Committed: ...
    def diff(
        self,
        *,
        project: str,
        path: str = ...,
        environment: str = ...,
        at: str = ...,
        against: str = ...,
    ) -> builtins.list[FileDifference]: ...
    def history(
        self,
        *,
        project: str,
        path: str = ...,
        environment: str = ...,
        at: str = ...,
        limit: int = ...,
    ) -> builtins.list[FileChange]: ...
    def list(
        self,
        *,
        project: str,
        path: str = ...,
        environment: str = ...,
        at: str = ...,
        all: bool = ...,
        limit: int = ...,
    ) -> builtins.list[Listed]: ...
    def remove(
        self,
        *,
        project: str,
        path: str,
        environment: str = ...,
        message: str = ...,
        idempotency_key: str = ...,
    ) -> Committed: ...
    def tree(self, *, project: str, path: str = ..., environment: str = ..., at: str = ...) -> Iterator[Page]: ...
    def verify(
        self,
        *,
        project: str,
        path: str = ...,
        environment: str = ...,
        at: str = ...,
    ) -> Iterator[Verified]: ...

class _Forges:
    def add(
        self,
        *,
        project: str,
        repository: str,
        kind: str = ...,
        forge_url: str = ...,
        token_secret: str = ...,
        forks: str = ...,
        branches: builtins.list[str] = ...,
        idempotency_key: str = ...,
    ) -> ForgeAdded: ...
    def deliveries(self, *, id: str, limit: int = ...) -> builtins.list[ForgeDelivery]: ...
    def list(self, *, project: str = ...) -> builtins.list[ForgeLink]: ...
    def remove(self, *, id: str, idempotency_key: str = ...) -> Nothing: ...

class _Gates:
    def list(
        self,
        *,
        project: str,
        model: str = ...,
        environment: str = ...,
        limit: int = ...,
    ) -> builtins.list[GateRun]: ...
    def run(
        self,
        *,
        project: str,
        model: str,
        environment: str = ...,
        source: str = ...,
        idempotency_key: str = ...,
    ) -> GateRun: ...
    def show(self, *, id: str) -> GateRun: ...

class _Gc:
    def run(self, *, dry_run: bool = ..., idempotency_key: str = ...) -> Collected: ...

class _Jobs:
    def cancel(self, *, id: str, idempotency_key: str = ...) -> JobRunView: ...
    def clear(self, *, id: str, idempotency_key: str = ...) -> bool: ...
    def costs(self, *, project: str, days: float = ...) -> builtins.list[CenterCost]: ...
    def follow(self, *, id: str, cursor: str = ...) -> Iterator[JobNews]: ...
    def list(
        self,
        *,
        project: str,
        job: str = ...,
        environment: str = ...,
        state: str = ...,
        all: bool = ...,
        limit: int = ...,
    ) -> builtins.list[JobRunView]: ...
    def logs(self, *, id: str, follow: bool = ..., lines: int = ..., cursor: str = ...) -> Iterator[LogLine]: ...
    def objects(self, *, id: str) -> builtins.list[TakenObject]: ...
    def resize(self, *, id: str, processes: int, idempotency_key: str = ...) -> JobRunView: ...
    def retry(self, *, id: str, idempotency_key: str = ...) -> JobRunView: ...
    def run(
        self,
        *,
        project: str,
        job: str,
        environment: str = ...,
        params: dict[str, str] = ...,
        alone: bool = ...,
        register: str = ...,
        start_from: str = ...,
        file: str = ...,
        bundles: dict[str, str] = ...,
        idempotency_key: str = ...,
    ) -> JobRunView: ...
    def schedules(self, *, project: str, environment: str = ...) -> builtins.list[ScheduleView]: ...
    def show(self, *, id: str) -> JobRunDetail: ...

class _Keys:
    def create(
        self,
        *,
        project: str,
        services: builtins.list[str] = ...,
        environments: builtins.list[str] = ...,
        label: str = ...,
        days: float = ...,
        scopes: builtins.list[str] = ...,
        tenant: str = ...,
        priority: str = ...,
        quota: str = ...,
        idempotency_key: str = ...,
    ) -> NewKey: ...
    def list(self) -> builtins.list[KeyView]: ...
    def revoke(self, *, id: str, idempotency_key: str = ...) -> builtins.list[KeyView]: ...
    def rotate(self, *, id: str, grace_h: float = ..., days: float = ..., idempotency_key: str = ...) -> NewKey: ...

class _Lineage:
    def accept(self, *, event: Any, idempotency_key: str = ...) -> Accepted: ...
    def show(
        self,
        *,
        project: str,
        of: str,
        environment: str = ...,
        up: bool = ...,
        down: bool = ...,
        depth: int = ...,
        past: bool = ...,
        picture: bool = ...,
    ) -> Lineage: ...

class _Logged_models:
    def create(
        self,
        *,
        project: str,
        name: str = ...,
        experiment_id: str = ...,
        kind: str = ...,
        run: str = ...,
        id: str = ...,
        params: dict[str, str] = ...,
        tags: dict[str, str] = ...,
        idempotency_key: str = ...,
    ) -> LoggedModel: ...
    def delete(self, *, project: str, id: str, idempotency_key: str = ...) -> Removed: ...
    def finish(
        self,
        *,
        project: str,
        id: str,
        status: str,
        message: str = ...,
        idempotency_key: str = ...,
    ) -> LoggedModel: ...
    def list(
        self,
        *,
        project: str,
        experiment_ids: builtins.list[str],
        filter: str = ...,
        order: builtins.list[str] = ...,
        datasets: Any = ...,
        limit: int = ...,
        page: str = ...,
    ) -> LoggedModelPage: ...
    def show(self, *, project: str, id: str, also_deleted: bool = ...) -> LoggedModel: ...
    def tag(
        self,
        *,
        project: str,
        id: str,
        params: dict[str, str] = ...,
        tags: dict[str, str] = ...,
        remove: builtins.list[str] = ...,
        idempotency_key: str = ...,
    ) -> LoggedModel: ...

class _Mirrors:
    def list(self, *, project: str, limit: int = ...) -> builtins.list[Mirror]: ...
    def report(self, *, id: str) -> TrafficReport: ...
    def start(
        self,
        *,
        project: str,
        environment: str,
        to: str,
        sample: str = ...,
        service: str = ...,
        during: str = ...,
        tolerance: float = ...,
        idempotency_key: str = ...,
    ) -> Mirror: ...
    def stop(self, *, id: str, idempotency_key: str = ...) -> Mirror: ...

class _Models:
    def alias(
        self,
        *,
        project: str,
        name: str,
        alias: str,
        version: int,
        environment: str = ...,
        why: str = ...,
        idempotency_key: str = ...,
    ) -> Model: ...
    def bundle(self, *, project: str, model: str, environment: str = ...) -> builtins.list[str]: ...
    def card(self, *, project: str, model: str, environment: str = ..., form: str = ...) -> CardPage: ...
    def create(
        self,
        *,
        project: str,
        name: str,
        environment: str = ...,
        description: str = ...,
        tags: dict[str, str] = ...,
        idempotency_key: str = ...,
    ) -> Model: ...
    def delete(self, *, project: str, model: str, environment: str = ..., idempotency_key: str = ...) -> bool: ...
    def explained(
        self,
        *,
        project: str,
        model: str,
        explanation: Any,
        environment: str = ...,
        idempotency_key: str = ...,
    ) -> Version: ...
    def files(self, *, project: str, model: str, environment: str = ...) -> builtins.list[File]: ...
    def latest(self, *, project: str, name: str, environment: str = ...) -> builtins.list[Version]: ...
    def list(
        self,
        *,
        project: str,
        environment: str = ...,
        limit: int = ...,
        after: str = ...,
    ) -> builtins.list[Model]: ...
    def register(
        self,
        *,
        project: str,
        name: str,
        files: Any = ...,
        listed: str = ...,
        environment: str = ...,
        aliases: builtins.list[str] = ...,
        description: str = ...,
        tags: dict[str, str] = ...,
        facts: Any = ...,
        signature: Any = ...,
        card: str = ...,
        source: str = ...,
        signer: str = ...,
        sign: bool = ...,
        signed: str = ...,
        key: str = ...,
        idempotency_key: str = ...,
    ) -> Version: ...
    def rename(
        self,
        *,
        project: str,
        name: str,
        to: str,
        environment: str = ...,
        idempotency_key: str = ...,
    ) -> Model: ...
    def resolve(self, *, project: str, model: str, environment: str = ...) -> Version: ...
    def sbom(self, *, project: str, model: str, environment: str = ...) -> Bill: ...
    def search(
        self,
        *,
        project: str,
        query: str = ...,
        environment: str = ...,
        limit: int = ...,
        after: str = ...,
    ) -> Found: ...
    def show(self, *, project: str, name: str, environment: str = ...) -> Model: ...
    def sign(
        self,
        *,
        project: str,
        model: str,
        signer: str = ...,
        environment: str = ...,
        idempotency_key: str = ...,
    ) -> Version: ...
    def stage(
        self,
        *,
        project: str,
        model: str,
        stage: str,
        archive_others: bool = ...,
        environment: str = ...,
        idempotency_key: str = ...,
    ) -> Version: ...
    def tag(
        self,
        *,
        project: str,
        model: str,
        tags: dict[str, str] = ...,
        remove: builtins.list[str] = ...,
        description: str = ...,
        environment: str = ...,
        idempotency_key: str = ...,
    ) -> bool: ...
    def unalias(
        self,
        *,
        project: str,
        name: str,
        alias: str,
        environment: str = ...,
        why: str = ...,
        idempotency_key: str = ...,
    ) -> Model: ...
    def verify(self, *, project: str, model: str, environment: str = ...) -> Verification: ...
    def versions(
        self,
        *,
        project: str,
        name: str,
        environment: str = ...,
        limit: int = ...,
        before: int = ...,
        order: str = ...,
        skip: int = ...,
    ) -> builtins.list[Version]: ...

class _Optimize:
    def list(self, *, project: str, environment: str = ..., limit: int = ...) -> builtins.list[Optimization]: ...
    def quantize(
        self,
        *,
        project: str,
        model: str,
        data: str,
        environment: str = ...,
        label: str = ...,
        hidden: builtins.list[str] = ...,
        answer: str = ...,
        metric: str = ...,
        max_loss: float = ...,
        method: str = ...,
        calibration: str = ...,
        rows: int = ...,
        core_hour: float = ...,
        becomes: str = ...,
        aliases: builtins.list[str] = ...,
        idempotency_key: str = ...,
    ) -> Optimization: ...
    def show(self, *, id: str) -> Optimization: ...

class _Platform:
    def status(self) -> PlatformStatus: ...

class _Previews:
    def allow(self, *, project: str, number: int, idempotency_key: str = ...) -> Preview: ...
    def list(self, *, project: str, closed: bool = ..., limit: int = ...) -> builtins.list[Preview]: ...
    def retry(self, *, project: str, number: int, idempotency_key: str = ...) -> Preview: ...

class _Principals:
    def create(self, *, name: str, role: str, idempotency_key: str = ...) -> PrincipalView: ...
    def list(self) -> builtins.list[PrincipalView]: ...
    def remove(self, *, name: str, idempotency_key: str = ...) -> PrincipalView: ...
    def set_role(self, *, name: str, role: str, idempotency_key: str = ...) -> PrincipalView: ...

class _Projects:
    def create(self, *, name: str, idempotency_key: str = ...) -> EnvironmentView: ...
    def list(self) -> builtins.list[EnvironmentView]: ...

class _Promotions:
    def abort(self, *, id: str, why: str = ..., idempotency_key: str = ...) -> Promotion: ...
    def approve(
        self,
        *,
        id: str,
        why: str = ...,
        digest: str = ...,
        idempotency_key: str = ...,
    ) -> PromotionDetail: ...
    def follow(self, *, id: str) -> Iterator[PromotionProgress]: ...
    def list(
        self,
        *,
        project: str,
        environment: str = ...,
        model: str = ...,
        limit: int = ...,
    ) -> builtins.list[Promotion]: ...
    def show(self, *, id: str) -> PromotionDetail: ...
    def start(
        self,
        *,
        project: str,
        model: str,
        to: str = ...,
        source: str = ...,
        why: str = ...,
        shadow: float = ...,
        idempotency_key: str = ...,
    ) -> Promotion: ...
    def timeline(self, *, id: str) -> Timeline: ...

class _Pushes:
    def list(self, *, project: str, environment: str = ..., limit: int = ...) -> Pushes: ...

class _Queues:
    def deliver(
        self,
        *,
        project: str,
        queue: str,
        environment: str = ...,
        idempotency_key: str = ...,
    ) -> ItemsMoved: ...
    def list(self, *, project: str, environment: str = ...) -> builtins.list[QueueView]: ...
    def peek(
        self,
        *,
        project: str,
        queue: str,
        environment: str = ...,
        state: str = ...,
        id: str = ...,
        limit: int = ...,
    ) -> builtins.list[ItemView]: ...
    def purge(
        self,
        *,
        project: str,
        queue: str,
        environment: str = ...,
        state: str = ...,
        idempotency_key: str = ...,
    ) -> ItemsMoved: ...
    def replay(
        self,
        *,
        project: str,
        queue: str,
        environment: str = ...,
        id: str = ...,
        idempotency_key: str = ...,
    ) -> ItemsMoved: ...
    def show(self, *, project: str, queue: str, environment: str = ...) -> QueueDetail: ...

class _Releases:
    def create(
        self,
        *,
        file: str,
        bundles: dict[str, str],
        environment: str = ...,
        message: str = ...,
        commit: str = ...,
        idempotency_key: str = ...,
    ) -> Release: ...
    def follow(self, *, id: str) -> Iterator[Progress]: ...
    def list(self, *, project: str, environment: str = ..., limit: int = ...) -> builtins.list[Release]: ...
    def plan(
        self,
        *,
        file: str,
        bundles: dict[str, str],
        environment: str = ...,
        message: str = ...,
        commit: str = ...,
    ) -> Plan: ...
    def rollback(
        self,
        *,
        project: str,
        environment: str = ...,
        to: int = ...,
        idempotency_key: str = ...,
    ) -> Release: ...
    def show(self, *, project: str, number: int, environment: str = ...) -> ReleaseDetail: ...

class _Replays:
    def list(self, *, project: str, limit: int = ...) -> builtins.list[Replay]: ...
    def show(self, *, id: str) -> Replay: ...
    def start(
        self,
        *,
        project: str,
        to: str,
        source: str = ...,
        last: int = ...,
        service: str = ...,
        both: bool = ...,
        tolerance: float = ...,
        idempotency_key: str = ...,
    ) -> Replay: ...

class _Runs:
    def compare(self, *, project: str, ids: builtins.list[str], picture: bool = ...) -> Compared: ...
    def create(
        self,
        *,
        project: str,
        name: str = ...,
        experiment: str = ...,
        experiment_id: str = ...,
        environment: str = ...,
        id: str = ...,
        started_at: float = ...,
        by: str = ...,
        source: Any = ...,
        tags: dict[str, str] = ...,
        idempotency_key: str = ...,
    ) -> Run: ...
    def delete(self, *, project: str, id: str, idempotency_key: str = ...) -> Run: ...
    def histories(
        self,
        *,
        project: str,
        ids: builtins.list[str],
        key: str,
        start_step: int = ...,
        end_step: int = ...,
        limit: int = ...,
    ) -> builtins.list[RunMetric]: ...
    def input_names(self, *, project: str, experiment_ids: builtins.list[str]) -> builtins.list[InputName]: ...
    def inputs(
        self,
        *,
        project: str,
        id: str,
        inputs: Any = ...,
        outputs: Any = ...,
        idempotency_key: str = ...,
    ) -> Done: ...
    def list(
        self,
        *,
        project: str,
        experiment: str = ...,
        experiment_ids: builtins.list[str] = ...,
        filter: str = ...,
        order: builtins.list[str] = ...,
        state: str = ...,
        limit: int = ...,
        page: str = ...,
    ) -> RunPage: ...
    def log(
        self,
        *,
        project: str,
        id: str,
        metrics: Any = ...,
        params: dict[str, str] = ...,
        tags: dict[str, str] = ...,
        remove_tags: builtins.list[str] = ...,
        idempotency_key: str = ...,
    ) -> Done: ...
    def metrics(self, *, project: str, id: str, key: str, limit: int = ..., page: str = ...) -> MetricPage: ...
    def restore(self, *, project: str, id: str, idempotency_key: str = ...) -> Run: ...
    def show(self, *, project: str, id: str) -> Run: ...
    def update(
        self,
        *,
        project: str,
        id: str,
        status: str = ...,
        name: str = ...,
        ended_at: float = ...,
        source: Any = ...,
        idempotency_key: str = ...,
    ) -> Run: ...

class _Scale:
    def advise(self, *, project: str, service: str, environment: str = ..., hours: float = ...) -> Advice: ...
    def show(self, *, project: str, service: str, environment: str = ..., hours: float = ...) -> ScalingView: ...
    def simulate(
        self,
        *,
        trace: str,
        name: str = ...,
        policy: str = ...,
        scale: Any = ...,
        service_s: float = ...,
        slots: int = ...,
        start_s: float = ...,
        pool_price: float = ...,
    ) -> Simulation: ...

class _Secrets:
    def history(
        self,
        *,
        project: str,
        name: str,
        environment: str = ...,
        limit: int = ...,
    ) -> builtins.list[SecretVersion]: ...
    def list(self, *, project: str, environment: str = ...) -> builtins.list[SecretView]: ...
    def rekey(self, *, idempotency_key: str = ...) -> Rekeyed: ...
    def remove(
        self,
        *,
        project: str,
        name: str,
        environment: str = ...,
        idempotency_key: str = ...,
    ) -> builtins.list[SecretView]: ...
    def seal(self, *, project: str, environment: str = ..., idempotency_key: str = ...) -> Sealing: ...
    def set(
        self,
        *,
        project: str,
        values: dict[str, str],
        environment: str = ...,
        deploy: bool = ...,
        idempotency_key: str = ...,
    ) -> SecretsSet: ...
    def unseal(self, *, project: str, environment: str = ..., idempotency_key: str = ...) -> Sealing: ...

class _Services:
    def exposure(self, *, project: str = ...) -> Exposure: ...
    def list(self, *, project: str, environment: str = ...) -> builtins.list[ServiceView]: ...
    def logs(
        self,
        *,
        project: str,
        service: str = ...,
        environment: str = ...,
        lines: int = ...,
        follow: bool = ...,
        build: bool = ...,
        cursor: str = ...,
    ) -> Iterator[LogLine]: ...
    def show(self, *, project: str, service: str, environment: str = ...) -> ServiceView: ...
    def traffic(self, *, project: str, service: str, environment: str = ...) -> ServiceTraffic: ...

class _Signers:
    def add(self, *, project: str, name: str, file: str, idempotency_key: str = ...) -> Signer: ...
    def create(
        self,
        *,
        project: str,
        name: str,
        provider: str = ...,
        reference: str = ...,
        automatic: bool = ...,
        idempotency_key: str = ...,
    ) -> Signer: ...
    def list(self, *, project: str) -> builtins.list[Signer]: ...
    def revoke(self, *, project: str, key: str, why: str = ..., idempotency_key: str = ...) -> Signer: ...
    def rotate(self, *, project: str, name: str, reference: str = ..., idempotency_key: str = ...) -> Signer: ...
    def trust(
        self,
        *,
        project: str,
        environment: str = ...,
        signers: builtins.list[str] = ...,
        required: bool = ...,
        idempotency_key: str = ...,
    ) -> Trust: ...
    def trusted(self, *, project: str, environment: str = ...) -> Trust: ...

class _Tables:
    def add_column(
        self,
        *,
        project: str,
        name: str,
        column: str,
        type: str,
        environment: str = ...,
        idempotency_key: str = ...,
    ) -> TableView: ...
    def append(
        self,
        *,
        project: str,
        name: str,
        blob: str,
        environment: str = ...,
        format: str = ...,
        message: str = ...,
        idempotency_key: str = ...,
    ) -> TableView: ...
    def compact(
        self,
        *,
        project: str,
        name: str,
        environment: str = ...,
        all: bool = ...,
        idempotency_key: str = ...,
    ) -> TableView: ...
    def create(
        self,
        *,
        project: str,
        name: str,
        environment: str = ...,
        blob: str = ...,
        format: str = ...,
        schema: str = ...,
        key: builtins.list[str] = ...,
        message: str = ...,
        idempotency_key: str = ...,
    ) -> TableView: ...
    def delete(
        self,
        *,
        project: str,
        name: str,
        where: str,
        environment: str = ...,
        message: str = ...,
        idempotency_key: str = ...,
    ) -> TableView: ...
    def diff(
        self,
        *,
        project: str,
        before: str,
        after: str,
        name: str = ...,
        picture: bool = ...,
    ) -> builtins.list[TableDifference]: ...
    def drop(self, *, project: str, name: str, environment: str = ..., idempotency_key: str = ...) -> TableView: ...
    def drop_column(
        self,
        *,
        project: str,
        name: str,
        column: str,
        environment: str = ...,
        idempotency_key: str = ...,
    ) -> TableView: ...
    def erase(self, *, project: str, name: str, where: str, idempotency_key: str = ...) -> Proof: ...
    def export(
        self,
        *,
        project: str,
        name: str,
        location: str,
        environment: str = ...,
        at: str = ...,
    ) -> builtins.list[ExportedFile]: ...
    def history(
        self,
        *,
        project: str,
        name: str,
        environment: str = ...,
        limit: int = ...,
    ) -> builtins.list[TableCommit]: ...
    def list(self, *, project: str, environment: str = ..., at: str = ...) -> builtins.list[TableView]: ...
    def query(
        self,
        *,
        project: str,
        sql: str,
        environment: str = ...,
        at: str = ...,
        limit: int = ...,
        output: str = ...,
        seconds: float = ...,
    ) -> QueryResult: ...
    def rename_column(
        self,
        *,
        project: str,
        name: str,
        column: str,
        to: str,
        environment: str = ...,
        idempotency_key: str = ...,
    ) -> TableView: ...
    def schema(self, *, project: str, name: str, environment: str = ...) -> builtins.list[ColumnView]: ...
    def show(self, *, project: str, name: str, environment: str = ..., at: str = ...) -> TableView: ...
    def update(
        self,
        *,
        project: str,
        name: str,
        set: dict[str, str],
        where: str,
        environment: str = ...,
        message: str = ...,
        idempotency_key: str = ...,
    ) -> TableView: ...
    def upsert(
        self,
        *,
        project: str,
        name: str,
        blob: str,
        environment: str = ...,
        format: str = ...,
        message: str = ...,
        idempotency_key: str = ...,
    ) -> TableView: ...
    def widen_column(
        self,
        *,
        project: str,
        name: str,
        column: str,
        type: str,
        environment: str = ...,
        idempotency_key: str = ...,
    ) -> TableView: ...

class _Tags:
    def create(self, *, project: str, name: str, environment: str = ..., idempotency_key: str = ...) -> Tag: ...
    def delete(self, *, project: str, name: str, idempotency_key: str = ...) -> bool: ...
    def list(self, *, project: str) -> builtins.list[Tag]: ...

class _Tokens:
    def create(
        self,
        *,
        principal: str = ...,
        label: str = ...,
        days: float = ...,
        idempotency_key: str = ...,
    ) -> NewToken: ...
    def list(self) -> builtins.list[TokenView]: ...
    def revoke(self, *, id: str, idempotency_key: str = ...) -> builtins.list[TokenView]: ...

class _Traces:
    def add(
        self,
        *,
        project: str,
        traces: Any,
        experiment_id: str = ...,
        run: str = ...,
        idempotency_key: str = ...,
    ) -> Done: ...
    def delete(
        self,
        *,
        project: str,
        experiment_id: str,
        ids: builtins.list[str] = ...,
        before_ms: int = ...,
        most: int = ...,
        idempotency_key: str = ...,
    ) -> Deleted: ...
    def link(self, *, project: str, ids: builtins.list[str], run: str, idempotency_key: str = ...) -> Done: ...
    def list(
        self,
        *,
        project: str,
        experiment_ids: builtins.list[str] = ...,
        filter: str = ...,
        order: builtins.list[str] = ...,
        limit: int = ...,
        page: str = ...,
    ) -> TracePage: ...
    def put(
        self,
        *,
        project: str,
        id: str,
        started_at: float,
        experiment_id: str = ...,
        state: str = ...,
        seconds: float = ...,
        request_id: str = ...,
        request: str = ...,
        response: str = ...,
        metadata: dict[str, str] = ...,
        tags: dict[str, str] = ...,
        assessments: Any = ...,
        idempotency_key: str = ...,
    ) -> Trace: ...
    def several(self, *, project: str, ids: builtins.list[str], spans: bool = ...) -> TracePage: ...
    def show(self, *, project: str, id: str, spans: bool = ...) -> Trace: ...
    def tag(
        self,
        *,
        project: str,
        id: str,
        tags: dict[str, str] = ...,
        remove: builtins.list[str] = ...,
        idempotency_key: str = ...,
    ) -> Trace: ...

class _Webhooks:
    def add(
        self,
        *,
        project: str,
        address: str,
        events: builtins.list[str] = ...,
        idempotency_key: str = ...,
    ) -> WebhookAdded: ...
    def list(self, *, project: str = ...) -> builtins.list[Webhook]: ...
    def remove(self, *, project: str, id: str, idempotency_key: str = ...) -> Nothing: ...
    def retry(self, *, project: str, id: str, since: int = ..., idempotency_key: str = ...) -> Webhook: ...
    def test(self, *, project: str, id: str, idempotency_key: str = ...) -> Webhook: ...

class Api:
    artifacts: _Artifacts
    assessments: _Assessments
    audit: _Audit
    baselines: _Baselines
    blobs: _Blobs
    capacity: _Capacity
    chaos: _Chaos
    costs: _Costs
    data: _Data
    databases: _Databases
    environments: _Environments
    events: _Events
    experiments: _Experiments
    files: _Files
    forges: _Forges
    gates: _Gates
    gc: _Gc
    jobs: _Jobs
    keys: _Keys
    lineage: _Lineage
    logged_models: _Logged_models
    mirrors: _Mirrors
    models: _Models
    optimize: _Optimize
    platform: _Platform
    previews: _Previews
    principals: _Principals
    projects: _Projects
    promotions: _Promotions
    pushes: _Pushes
    queues: _Queues
    releases: _Releases
    replays: _Replays
    runs: _Runs
    scale: _Scale
    secrets: _Secrets
    services: _Services
    signers: _Signers
    tables: _Tables
    tags: _Tags
    tokens: _Tokens
    traces: _Traces
    webhooks: _Webhooks
    def call(self, name: str, /, **fields: Any) -> Any: ...
    def whoami(self) -> PrincipalView: ...
