CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE audit (
	seq INTEGER NOT NULL,
	at FLOAT NOT NULL,
	principal TEXT NOT NULL,
	operation TEXT NOT NULL,
	subject TEXT NOT NULL,
	outcome TEXT NOT NULL,
	milliseconds FLOAT NOT NULL,
	request_digest TEXT NOT NULL,
	PRIMARY KEY (seq)
);

CREATE TABLE deployment (
	id TEXT NOT NULL,
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	service TEXT NOT NULL,
	digest TEXT NOT NULL,
	bundle TEXT NOT NULL,
	settings TEXT NOT NULL,
	release INTEGER NOT NULL,
	state TEXT NOT NULL,
	created_at FLOAT NOT NULL,
	changed_at FLOAT NOT NULL,
	build TEXT NOT NULL,
	signature TEXT NOT NULL,
	failure TEXT NOT NULL,
	crashes INTEGER NOT NULL,
	drained BOOLEAN NOT NULL, secrets TEXT DEFAULT '{}' NOT NULL, models TEXT DEFAULT '{}' NOT NULL, active INTEGER DEFAULT '0' NOT NULL, pool INTEGER DEFAULT '0' NOT NULL, scaled_at FLOAT DEFAULT '0' NOT NULL, awake_s FLOAT DEFAULT '0' NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (project, environment, service, digest)
);

CREATE INDEX ix_deployment_state ON deployment (state);

CREATE TABLE event (
	seq INTEGER NOT NULL,
	at FLOAT NOT NULL,
	name TEXT NOT NULL,
	subject TEXT NOT NULL,
	data TEXT NOT NULL,
	PRIMARY KEY (seq)
);

CREATE INDEX ix_event_subject ON event (subject);

CREATE TABLE idempotency (
	principal TEXT NOT NULL,
	"key" TEXT NOT NULL,
	operation TEXT NOT NULL,
	request_digest TEXT NOT NULL,
	response BLOB NOT NULL,
	at FLOAT NOT NULL,
	PRIMARY KEY (principal, "key")
);

CREATE TABLE "key" (
	id TEXT NOT NULL,
	project TEXT NOT NULL,
	services TEXT NOT NULL,
	hash TEXT NOT NULL,
	label TEXT NOT NULL,
	created_at FLOAT NOT NULL,
	expires_at FLOAT NOT NULL,
	revoked_at FLOAT, scopes TEXT DEFAULT '[]' NOT NULL, tenant TEXT DEFAULT '' NOT NULL, priority TEXT DEFAULT '' NOT NULL, quota TEXT DEFAULT '' NOT NULL, environments TEXT DEFAULT '[]' NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (hash)
);

CREATE TABLE principal (
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	role INTEGER NOT NULL,
	created_at FLOAT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (name)
);

CREATE TABLE project (
	name TEXT NOT NULL,
	created_at FLOAT NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE release (
	id TEXT NOT NULL,
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	number INTEGER NOT NULL,
	digest TEXT NOT NULL,
	state TEXT NOT NULL,
	manifest TEXT NOT NULL,
	message TEXT NOT NULL,
	"commit" TEXT NOT NULL,
	created_at FLOAT NOT NULL,
	created_by TEXT NOT NULL,
	finished_at FLOAT NOT NULL,
	rolled_back_to INTEGER NOT NULL,
	failure TEXT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (project, environment, number)
);

CREATE TABLE step (
	kind TEXT NOT NULL,
	id TEXT NOT NULL,
	generation INTEGER NOT NULL,
	name TEXT NOT NULL,
	result TEXT NOT NULL,
	at FLOAT NOT NULL,
	PRIMARY KEY (kind, id, generation, name)
);

CREATE TABLE work (
	kind TEXT NOT NULL,
	id TEXT NOT NULL,
	due_at FLOAT,
	called_for FLOAT,
	wakes INTEGER DEFAULT '0' NOT NULL,
	generation INTEGER DEFAULT '1' NOT NULL,
	token TEXT,
	failures INTEGER DEFAULT '0' NOT NULL,
	error TEXT,
	PRIMARY KEY (kind, id)
);

CREATE INDEX ix_work_due_at ON work (due_at);

CREATE TABLE environment (
	project TEXT NOT NULL,
	name TEXT NOT NULL,
	created_at FLOAT NOT NULL,
	live TEXT, parent TEXT DEFAULT '' NOT NULL, branch TEXT DEFAULT '' NOT NULL, created_by TEXT DEFAULT '' NOT NULL, ttl_s FLOAT DEFAULT '0' NOT NULL, expires_at FLOAT DEFAULT '0' NOT NULL, paused BOOLEAN DEFAULT 0 NOT NULL, budget FLOAT DEFAULT '0' NOT NULL,
	PRIMARY KEY (project, name),
	FOREIGN KEY(project) REFERENCES project (name)
);

CREATE TABLE token (
	id TEXT NOT NULL,
	principal TEXT NOT NULL,
	hash TEXT NOT NULL,
	label TEXT NOT NULL,
	created_at FLOAT NOT NULL,
	expires_at FLOAT NOT NULL,
	revoked_at FLOAT, scope TEXT DEFAULT '' NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(principal) REFERENCES principal (id) ON DELETE CASCADE,
	UNIQUE (hash)
);

CREATE TABLE change (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	layer INTEGER NOT NULL,
	at FLOAT NOT NULL,
	"by" TEXT NOT NULL,
	why TEXT NOT NULL
);

CREATE INDEX ix_change_layer ON change (layer);

CREATE TABLE entry (
	layer INTEGER NOT NULL,
	kind TEXT NOT NULL,
	"key" TEXT NOT NULL,
	seq INTEGER NOT NULL,
	value TEXT,
	PRIMARY KEY (layer, kind, "key", seq)
)
 WITHOUT ROWID

;

CREATE TABLE layer (
	id INTEGER NOT NULL,
	parent INTEGER,
	at INTEGER NOT NULL,
	sealed TEXT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(parent) REFERENCES layer (id)
);

CREATE INDEX ix_layer_parent ON layer (parent);

CREATE TABLE tag (
	project TEXT NOT NULL,
	name TEXT NOT NULL,
	environment TEXT NOT NULL,
	layer INTEGER NOT NULL,
	seq INTEGER NOT NULL,
	at FLOAT NOT NULL,
	"by" TEXT NOT NULL,
	PRIMARY KEY (project, name)
);

CREATE TABLE head (
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	layer INTEGER NOT NULL,
	protected BOOLEAN NOT NULL,
	PRIMARY KEY (project, environment),
	FOREIGN KEY(layer) REFERENCES layer (id)
);

CREATE TABLE ledger_entry (
	number INTEGER NOT NULL,
	previous TEXT NOT NULL,
	at FLOAT NOT NULL,
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	action TEXT NOT NULL,
	subject TEXT NOT NULL,
	"by" TEXT NOT NULL,
	why TEXT NOT NULL,
	evidence TEXT NOT NULL,
	hash TEXT NOT NULL,
	PRIMARY KEY (number)
);

CREATE INDEX ix_ledger_entry_place ON ledger_entry (project, environment, action, number);

CREATE TABLE ledger_head (
	id INTEGER NOT NULL,
	size INTEGER NOT NULL,
	frontier BLOB NOT NULL,
	last TEXT NOT NULL,
	at FLOAT NOT NULL,
	note TEXT NOT NULL,
	"key" TEXT NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE registered_model (
	project TEXT NOT NULL,
	name TEXT NOT NULL,
	last INTEGER NOT NULL,
	PRIMARY KEY (project, name)
);

CREATE TABLE model_version (
	id TEXT NOT NULL,
	project TEXT NOT NULL,
	name TEXT NOT NULL,
	number INTEGER NOT NULL,
	digest TEXT NOT NULL,
	files INTEGER NOT NULL,
	bytes INTEGER NOT NULL,
	created_at FLOAT NOT NULL,
	"by" TEXT NOT NULL,
	environment TEXT NOT NULL,
	run TEXT NOT NULL,
	source TEXT NOT NULL,
	details TEXT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (project, name, number)
);

CREATE INDEX ix_model_version_digest ON model_version (digest);

CREATE INDEX ix_model_version_run ON model_version (project, run);

CREATE TABLE model_signed (
	version TEXT NOT NULL,
	"key" TEXT NOT NULL,
	signer TEXT NOT NULL,
	at FLOAT NOT NULL,
	"by" TEXT NOT NULL,
	bundle TEXT NOT NULL,
	PRIMARY KEY (version, "key")
);

CREATE TABLE share (
	deployment TEXT NOT NULL,
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	service TEXT NOT NULL,
	name TEXT NOT NULL,
	percent FLOAT NOT NULL,
	copies BOOLEAN NOT NULL,
	sticky TEXT NOT NULL,
	PRIMARY KEY (deployment)
);

CREATE TABLE signer (
	project TEXT NOT NULL,
	"key" TEXT NOT NULL,
	name TEXT NOT NULL,
	provider TEXT NOT NULL,
	reference TEXT NOT NULL,
	public_key TEXT NOT NULL,
	state TEXT NOT NULL,
	automatic BOOLEAN NOT NULL,
	created_at FLOAT NOT NULL,
	"by" TEXT NOT NULL,
	ended_at FLOAT NOT NULL,
	why TEXT NOT NULL,
	PRIMARY KEY (project, "key")
);

CREATE TABLE signer_trust (
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	signers TEXT NOT NULL,
	required BOOLEAN NOT NULL,
	PRIMARY KEY (project, environment)
);

CREATE TABLE gate_run (
	id TEXT NOT NULL,
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	name TEXT NOT NULL,
	number INTEGER NOT NULL,
	digest TEXT NOT NULL,
	version TEXT NOT NULL,
	gates TEXT NOT NULL,
	policy TEXT NOT NULL,
	state TEXT NOT NULL,
	"by" TEXT NOT NULL,
	started_at FLOAT NOT NULL,
	against TEXT NOT NULL,
	results TEXT NOT NULL,
	finished_at FLOAT NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX ix_gate_run_digest ON gate_run (digest);

CREATE TABLE promotion (
	id TEXT NOT NULL,
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	source TEXT NOT NULL,
	name TEXT NOT NULL,
	number INTEGER NOT NULL,
	version TEXT NOT NULL,
	digest TEXT NOT NULL,
	registered_by TEXT NOT NULL,
	state TEXT NOT NULL,
	policy TEXT NOT NULL,
	needed INTEGER NOT NULL,
	"by" TEXT NOT NULL,
	why TEXT NOT NULL,
	created_at FLOAT NOT NULL,
	changed_at FLOAT NOT NULL,
	gate_run TEXT NOT NULL,
	evidence TEXT NOT NULL,
	step INTEGER NOT NULL,
	base TEXT NOT NULL,
	"before" INTEGER NOT NULL,
	deployments TEXT NOT NULL,
	watch TEXT NOT NULL,
	failure TEXT NOT NULL,
	finished_at FLOAT NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX ix_promotion_gate_run ON promotion (gate_run);

CREATE UNIQUE INDEX ix_promotion_under_way ON promotion (project, environment, name) WHERE finished_at = 0;

CREATE TABLE approval (
	promotion TEXT NOT NULL,
	"by" TEXT NOT NULL,
	at FLOAT NOT NULL,
	digest TEXT NOT NULL,
	evidence TEXT NOT NULL,
	expires_at FLOAT NOT NULL,
	why TEXT NOT NULL,
	PRIMARY KEY (promotion, "by")
);

CREATE TABLE lineage_thing (
	id TEXT NOT NULL,
	kind TEXT NOT NULL,
	project TEXT NOT NULL,
	name TEXT NOT NULL,
	at FLOAT NOT NULL,
	details TEXT NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE lineage_edge (
	source TEXT NOT NULL,
	target TEXT NOT NULL,
	how TEXT NOT NULL,
	first_at FLOAT NOT NULL,
	"by" TEXT NOT NULL,
	PRIMARY KEY (source, target)
)
 WITHOUT ROWID

;

CREATE INDEX ix_lineage_edge_target ON lineage_edge (target);

CREATE TABLE lineage_outbox (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	event TEXT NOT NULL,
	at FLOAT NOT NULL
);

CREATE TABLE model_attachment (
	version TEXT NOT NULL,
	kind TEXT NOT NULL,
	at FLOAT NOT NULL,
	"by" TEXT NOT NULL,
	content TEXT NOT NULL,
	PRIMARY KEY (version, kind)
);

CREATE TABLE lineage_seen (
	id INTEGER NOT NULL,
	number INTEGER NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE lineage_open_run (
	number INTEGER NOT NULL,
	PRIMARY KEY (number)
);

CREATE TABLE optimization (
	id TEXT NOT NULL,
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	kind TEXT NOT NULL,
	model TEXT NOT NULL,
	parent TEXT NOT NULL,
	becomes TEXT NOT NULL,
	method TEXT NOT NULL,
	calibration TEXT NOT NULL,
	judging TEXT NOT NULL,
	aliases TEXT NOT NULL,
	student TEXT NOT NULL,
	run TEXT NOT NULL,
	state TEXT NOT NULL,
	"by" TEXT NOT NULL,
	started_at FLOAT NOT NULL,
	contenders TEXT NOT NULL,
	chosen TEXT NOT NULL,
	said TEXT NOT NULL,
	version INTEGER NOT NULL,
	finished_at FLOAT NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX ix_optimization_place ON optimization (project, environment, started_at);

CREATE TABLE forge_delivery (
	link TEXT NOT NULL,
	delivery TEXT NOT NULL,
	kind TEXT NOT NULL,
	about TEXT NOT NULL,
	outcome TEXT NOT NULL,
	at FLOAT NOT NULL,
	PRIMARY KEY (link, delivery)
);

CREATE INDEX ix_forge_delivery_at ON forge_delivery (link, at);

CREATE TABLE forge_link (
	id TEXT NOT NULL,
	project TEXT NOT NULL,
	kind TEXT NOT NULL,
	repository TEXT NOT NULL,
	url TEXT NOT NULL,
	secret TEXT NOT NULL,
	token TEXT NOT NULL,
	forks TEXT NOT NULL,
	branches TEXT NOT NULL,
	"by" TEXT NOT NULL,
	at FLOAT NOT NULL,
	PRIMARY KEY (id)
);

CREATE TABLE preview (
	id TEXT NOT NULL,
	link TEXT NOT NULL,
	project TEXT NOT NULL,
	number INTEGER NOT NULL,
	branch TEXT NOT NULL,
	"commit" TEXT NOT NULL,
	base TEXT NOT NULL,
	fork BOOLEAN NOT NULL,
	title TEXT NOT NULL,
	author TEXT NOT NULL,
	url TEXT NOT NULL,
	open BOOLEAN NOT NULL,
	seen_at FLOAT NOT NULL,
	changed_at FLOAT NOT NULL,
	state TEXT NOT NULL,
	environment TEXT NOT NULL,
	deployed TEXT NOT NULL,
	release INTEGER NOT NULL,
	why TEXT NOT NULL,
	allowed TEXT NOT NULL,
	comment TEXT NOT NULL,
	shown TEXT NOT NULL,
	failures INTEGER NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX ix_preview_link ON preview (link, number);

CREATE INDEX ix_preview_project ON preview (project, changed_at);

CREATE TABLE job_run (
	id TEXT NOT NULL,
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	job TEXT NOT NULL,
	"by" TEXT NOT NULL,
	state TEXT NOT NULL,
	said TEXT NOT NULL,
	manifest TEXT NOT NULL,
	params TEXT NOT NULL,
	register TEXT NOT NULL,
	"group" TEXT NOT NULL,
	needs TEXT NOT NULL,
	devices TEXT NOT NULL,
	stopping_for TEXT NOT NULL,
	ends_as TEXT NOT NULL,
	spent TEXT NOT NULL,
	build TEXT NOT NULL,
	lease TEXT NOT NULL,
	run TEXT NOT NULL,
	token TEXT NOT NULL,
	failure TEXT NOT NULL,
	release INTEGER NOT NULL,
	"index" INTEGER NOT NULL,
	children INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	size INTEGER NOT NULL,
	wanted_size INTEGER NOT NULL,
	port INTEGER NOT NULL,
	seen INTEGER NOT NULL,
	slot FLOAT NOT NULL,
	created_at FLOAT NOT NULL,
	changed_at FLOAT NOT NULL,
	started_at FLOAT NOT NULL,
	finished_at FLOAT NOT NULL,
	not_before FLOAT NOT NULL,
	attempt_at FLOAT NOT NULL,
	stop_by FLOAT NOT NULL,
	price_per_h FLOAT NOT NULL,
	seconds FLOAT NOT NULL,
	cost FLOAT NOT NULL,
	changes INTEGER DEFAULT '0' NOT NULL, under_way INTEGER DEFAULT '0' NOT NULL, start_from TEXT DEFAULT '' NOT NULL, next_size INTEGER DEFAULT '0' NOT NULL, gave_back INTEGER DEFAULT '0' NOT NULL, occupied_s FLOAT DEFAULT '0' NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX ix_job_run_group ON job_run ("group");

CREATE INDEX ix_job_run_finished_at ON job_run (finished_at);

CREATE INDEX ix_job_run_place ON job_run (project, environment, job, id);

CREATE TABLE job_schedule (
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	job TEXT NOT NULL,
	schedule TEXT NOT NULL,
	timezone TEXT NOT NULL,
	catch_up TEXT NOT NULL,
	since FLOAT NOT NULL,
	missed INTEGER NOT NULL,
	PRIMARY KEY (project, environment, job)
);

CREATE TABLE mirror (
	id TEXT NOT NULL,
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	target TEXT NOT NULL,
	service TEXT NOT NULL,
	percent FLOAT NOT NULL,
	tolerance FLOAT NOT NULL,
	state TEXT NOT NULL,
	"by" TEXT NOT NULL,
	started_at FLOAT NOT NULL,
	until FLOAT NOT NULL,
	stopped_at FLOAT NOT NULL,
	cpu_before TEXT NOT NULL,
	cpu_after TEXT NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX ix_mirror_place ON mirror (project, environment, state);

CREATE TABLE replay (
	id TEXT NOT NULL,
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	target TEXT NOT NULL,
	service TEXT NOT NULL,
	count INTEGER NOT NULL,
	tolerance FLOAT NOT NULL,
	both BOOLEAN NOT NULL,
	state TEXT NOT NULL,
	"by" TEXT NOT NULL,
	started_at FLOAT NOT NULL,
	finished_at FLOAT NOT NULL,
	why TEXT NOT NULL,
	cpu_before TEXT NOT NULL,
	cpu_after TEXT NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX ix_replay_project ON replay (project, started_at);

CREATE TABLE database_instance (
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	name TEXT NOT NULL,
	engine TEXT NOT NULL,
	handle TEXT NOT NULL,
	state TEXT NOT NULL,
	made_at FLOAT NOT NULL,
	held_s FLOAT NOT NULL,
	mask TEXT NOT NULL,
	source TEXT NOT NULL,
	remake TEXT NOT NULL,
	failure TEXT NOT NULL,
	PRIMARY KEY (project, environment, name)
);

CREATE TABLE database_snapshot (
	id TEXT NOT NULL,
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	name TEXT NOT NULL,
	engine TEXT NOT NULL,
	handle TEXT NOT NULL,
	at FLOAT NOT NULL,
	"by" TEXT NOT NULL,
	why TEXT NOT NULL,
	layer INTEGER NOT NULL,
	seq INTEGER NOT NULL,
	tag TEXT NOT NULL,
	remake TEXT NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX ix_database_snapshot_project ON database_snapshot (project);

CREATE TABLE scaling_decision (
	id INTEGER NOT NULL,
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	service TEXT NOT NULL,
	deployment TEXT NOT NULL,
	at FLOAT NOT NULL,
	active INTEGER NOT NULL,
	pool INTEGER NOT NULL,
	why TEXT NOT NULL,
	needs TEXT NOT NULL,
	seen TEXT NOT NULL, late_cost FLOAT DEFAULT '0' NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX ix_scaling_decision_of ON scaling_decision (project, environment, service, at);

CREATE TABLE scaling_traffic (
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	service TEXT NOT NULL,
	minute INTEGER NOT NULL,
	counts TEXT NOT NULL,
	service_s FLOAT NOT NULL,
	late INTEGER NOT NULL,
	slots INTEGER NOT NULL,
	PRIMARY KEY (project, environment, service, minute)
);

CREATE TABLE scaling_habit (
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	service TEXT NOT NULL,
	counts TEXT NOT NULL,
	PRIMARY KEY (project, environment, service)
);

CREATE TABLE shown (
	layer INTEGER NOT NULL,
	depth INTEGER NOT NULL,
	above INTEGER NOT NULL,
	seq INTEGER NOT NULL,
	sealed TEXT NOT NULL,
	PRIMARY KEY (layer, depth)
)
 WITHOUT ROWID

;

CREATE INDEX ix_shown_above ON shown (above);

CREATE TABLE baseline (
	project TEXT NOT NULL,
	name TEXT NOT NULL,
	"by" TEXT NOT NULL,
	at FLOAT NOT NULL,
	measured TEXT NOT NULL,
	PRIMARY KEY (project, name)
);

CREATE TABLE webhook (
	id TEXT NOT NULL,
	project TEXT NOT NULL,
	url TEXT NOT NULL,
	events TEXT NOT NULL,
	secret TEXT NOT NULL,
	"by" TEXT NOT NULL,
	at FLOAT NOT NULL,
	cursor INTEGER NOT NULL,
	told INTEGER NOT NULL,
	told_at FLOAT NOT NULL,
	tries INTEGER NOT NULL,
	lost INTEGER NOT NULL,
	said TEXT NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX ix_webhook_project ON webhook (project);

CREATE TABLE capacity_changeover (
	project TEXT NOT NULL,
	job TEXT NOT NULL,
	measured TEXT NOT NULL,
	PRIMARY KEY (project, job)
);

CREATE TABLE cost_meter (
	attempt TEXT NOT NULL,
	seconds FLOAT NOT NULL,
	cpu_s FLOAT NOT NULL,
	gpu_s FLOAT NOT NULL,
	PRIMARY KEY (attempt)
);

CREATE TABLE data_retention (
	project TEXT NOT NULL,
	dataset TEXT NOT NULL,
	days FLOAT NOT NULL,
	at FLOAT NOT NULL,
	"by" TEXT NOT NULL,
	PRIMARY KEY (project, dataset)
);

CREATE TABLE promotion_stage (
	promotion TEXT NOT NULL,
	number INTEGER NOT NULL,
	state TEXT NOT NULL,
	percent FLOAT NOT NULL,
	began_at FLOAT NOT NULL,
	ended_at FLOAT NOT NULL,
	watched_s FLOAT NOT NULL,
	candidate TEXT NOT NULL,
	champion TEXT NOT NULL,
	PRIMARY KEY (promotion, number)
);

CREATE TABLE scaling_lateness (
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	service TEXT NOT NULL,
	learnt TEXT NOT NULL,
	PRIMARY KEY (project, environment, service)
);

CREATE TABLE job_object (
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	job TEXT NOT NULL,
	bucket TEXT NOT NULL,
	"key" TEXT NOT NULL,
	etag TEXT NOT NULL,
	size INTEGER NOT NULL,
	run TEXT NOT NULL,
	PRIMARY KEY (project, environment, job, bucket, "key", etag)
);

CREATE INDEX ix_job_object_run ON job_object (run);

CREATE TABLE cost_usage (
	project TEXT NOT NULL,
	day INTEGER NOT NULL,
	environment TEXT NOT NULL,
	cost_center TEXT NOT NULL,
	kind TEXT NOT NULL,
	workload TEXT NOT NULL,
	tags TEXT NOT NULL,
	seconds FLOAT NOT NULL,
	cpu_s FLOAT NOT NULL,
	gpu_s FLOAT NOT NULL,
	cost FLOAT NOT NULL,
	PRIMARY KEY (project, day, environment, cost_center, kind, workload, tags)
);

CREATE TABLE cost_budget_told (
	project TEXT NOT NULL,
	environment TEXT NOT NULL,
	month TEXT NOT NULL,
	budget FLOAT NOT NULL,
	state TEXT NOT NULL,
	PRIMARY KEY (project, environment)
);

INSERT INTO alembic_version VALUES ('0032');

