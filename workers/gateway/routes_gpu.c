/*
 * Routes of generations and of the devices that run them.
 */
#include "gateway/generate.h"
#include "gateway/routes.h"

static const char *const classes[] = {"interactive", "normal", "batch", NULL};

#define JOB_COLUMNS                                                               \
	"job_id integer\nkind string\nclass string\nstate string\nsubmitted_at "      \
	"date-time\nsubmitted_by string\n"                                            \
	"started_at date-time\nfinished_at date-time\nattempt integer\nmax_attempts " \
	"integer\nprogress number\n"                                                  \
	"note string\nerror string\n"
#define JOB_SELECT                                                                             \
	"SELECT job_id, kind, class, state, submitted_at, submitted_by, started_at, finished_at, " \
	"attempt, max_attempts, "                                                                  \
	"progress, note, error"
#define JOB_ID            \
	{.name = "job_id",    \
	 .place = IN_PATH,    \
	 .type = TYPE_BIGINT, \
	 .is_required = true, \
	 .least = 1,          \
	 .most = 9e18,        \
	 .description = "number of the job"}
#define CLASS              \
	{.name = "class",      \
	 .place = IN_BODY,     \
	 .type = TYPE_TEXT,    \
	 .standard = "normal", \
	 .choices = classes,   \
	 .description = "how urgent it is"}

const Route gpu_routes[] = {
	{
		.method = METHOD_POST,
		.path = "/api/gpu/generate",
		.group = GROUP_GPU,
		.summary = "Have a model generate text",
		.description =
			"With \"stream\" the text comes as Server-Sent Events, and the job is cancelled "
			"when the client goes, unless it was there before with its unique_key. docs/gpu.md has "
			"what they look like.",
		.sql = "SELECT aurora.generate($1, $2, $3, $4, $5, $6, coalesce($7, '{}'::jsonb), timeout "
			   "=> $8, "
			   "unique_key => $9) AS job_id",
		.is_write = true,
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_CREATED,
		.parameters = {{.name = "model",
						.place = IN_BODY,
						.type = TYPE_NAME,
						.is_required = true,
						.description = "name of the model"},
					   {.name = "prompt",
						.place = IN_BODY,
						.type = TYPE_TEXT,
						.description = "the text to go on from; either this or messages"},
					   {.name = "messages",
						.place = IN_BODY,
						.type = TYPE_ARRAY,
						.description = "a conversation, as chat completions have it"},
					   CLASS,
					   {.name = "max_tokens",
						.place = IN_BODY,
						.type = TYPE_INT,
						.least = 1,
						.most = 1e6,
						.description = "at most so many"},
					   {.name = "temperature",
						.place = IN_BODY,
						.type = TYPE_NUMBER,
						.least = 0,
						.most = 10,
						.description = "how much chance"},
					   {.name = "options",
						.place = IN_BODY,
						.type = TYPE_OBJECT,
						.description = "further settings of the model"},
					   {.name = "timeout",
						.place = IN_BODY,
						.type = TYPE_INTERVAL,
						.description = "after which nobody waits for it"},
					   {.name = "unique_key",
						.place = IN_BODY,
						.type = TYPE_NAME,
						.description = "the same again is the same job"},
					   {.name = "stream",
						.place = IN_BODY,
						.type = TYPE_BOOLEAN,
						.is_handlers = true,
						.description = "have the text come as it is made"}},
		.handle = generate_handle,
		.columns = "job_id integer number of the job\n",
	},
	{
		.method = METHOD_POST,
		.path = "/api/gpu/embed",
		.group = GROUP_GPU,
		.summary = "Have a model make embeddings",
		.sql = "SELECT aurora.embed($1, $2, $3, coalesce($4, '{}'::jsonb), timeout => $5, "
			   "unique_key => "
			   "$6) AS job_id",
		.is_write = true,
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_CREATED,
		.parameters = {{.name = "model",
						.place = IN_BODY,
						.type = TYPE_NAME,
						.is_required = true,
						.description = "name of the model"},
					   {.name = "input",
						.place = IN_BODY,
						.type = TYPE_JSON,
						.is_required = true,
						.description = "a text, or an array of texts"},
					   CLASS,
					   {.name = "options",
						.place = IN_BODY,
						.type = TYPE_OBJECT,
						.description = "further settings of the model"},
					   {.name = "timeout",
						.place = IN_BODY,
						.type = TYPE_INTERVAL,
						.description = "after which nobody waits for it"},
					   {.name = "unique_key",
						.place = IN_BODY,
						.type = TYPE_NAME,
						.description = "the same again is the same job"}},
		.columns = "job_id integer number of the job\n",
	},
	{
		.method = METHOD_GET,
		.path = "/api/gpu/status",
		.group = GROUP_GPU,
		.summary = "How the devices are",
		.sql = "SELECT * FROM aurora.gpu_status",
		.roles = ROLE_ANY,
		.shape = SHAPE_ROWS,
		.caching = CACHE_ETAG,
		.columns =
			"node string\ndevice integer\nname string\nstate string\nlive boolean\nslots "
			"integer\nrunning integer\nwaiting integer\n"
			"memory_percent number\nutilisation number\nreport_age duration\nproblem string\n",
	},
	{
		.method = METHOD_GET,
		.path = "/api/gpu/queue",
		.group = GROUP_GPU,
		.summary = "What waits for a device, in its order",
		.sql = "SELECT * FROM aurora.gpu_queue LIMIT $1",
		.is_slow = true,
		.roles = ROLE_ANY,
		.shape = SHAPE_ROWS,
		.caching = CACHE_ETAG,
		.parameters = {{.name = "limit",
						.place = IN_QUERY,
						.type = TYPE_INT,
						.standard = "100",
						.least = 1,
						.most = 1000,
						.description = "how many at most"}},
		.columns = "job_id integer\nmodel string\nclass string\nsubmitted_at date-time\nposition "
				   "integer\nstarts_in duration\neta duration\ndevice string\nproblem string\n",
	},
	{
		.method = METHOD_GET,
		.path = "/api/gpu/jobs/{job_id}",
		.group = GROUP_GPU,
		.summary = "A job, and what came of it",
		.sql = JOB_SELECT ", result FROM aurora.jobs WHERE job_id = $1",
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_ROW,
		.caching = CACHE_ETAG,
		.parameters = {JOB_ID},
		.columns = JOB_COLUMNS "result object\n",
	},
	{
		.method = METHOD_GET,
		.path = "/api/gpu/jobs/{job_id}/output",
		.group = GROUP_GPU,
		.summary = "What a job has generated so far",
		.description = "With Accept: text/event-stream what follows, too, as Server-Sent Events; "
					   "Last-Event-ID, or else after, is the token to go on behind.",
		.sql = "SELECT * FROM aurora.job_output($1, $2)",
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_ROWS,
		.caching = CACHE_ETAG,
		.handle = output_handle,
		.parameters = {JOB_ID,
					   {.name = "after",
						.place = IN_QUERY,
						.type = TYPE_INT,
						.standard = "0",
						.least = 0,
						.most = 2147483647.0,
						.description = "what comes behind this token"}},
		.columns = "token_no integer\ntext string\nrestarted boolean\nfinish_reason string\n",
	},
	{
		.method = METHOD_POST,
		.path = "/api/gpu/jobs/{job_id}/cancel",
		.group = GROUP_GPU,
		.summary = "Cancel a job",
		.sql = "SELECT aurora.cancel_job($1, $2) AS state",
		.is_write = true,
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_ROW,
		.parameters = {JOB_ID,
					   {.name = "reason",
						.place = IN_BODY,
						.type = TYPE_TEXT,
						.most = 1000,
						.description = "why"}},
		.columns = "state string that it is in now\n",
	},
};

const size_t gpu_route_count = sizeof(gpu_routes) / sizeof(gpu_routes[0]);
