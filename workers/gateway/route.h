/*
 * Routes: what the gateway answers, each a method, a path and a statement or a function. The tables
 * are also what the OpenAPI description, docs/api.md and the tests are made of.
 */
#ifndef GATEWAY_ROUTE_H
#define GATEWAY_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "gateway/config.h"

#define ROUTE_PARAMETERS 16 /* of a route, at most */

typedef struct Request Request;

typedef enum Method
{
	METHOD_GET, /* HEAD is answered by GET's route */
	METHOD_POST,
	METHOD_PUT,
	METHOD_PATCH,
	METHOD_DELETE,
	METHOD_HEAD,
	METHOD_OPTIONS,
	METHODS
} Method;

extern const char *const method_names[METHODS + 1];

/* Roles of keys, as bits. */
#define ROLE_USER 1u
#define ROLE_AGENT 2u
#define ROLE_NODE 4u
#define ROLE_MONITOR 8u
#define ROLE_PRINCIPAL (ROLE_USER | ROLE_AGENT)
#define ROLE_ANY (ROLE_USER | ROLE_AGENT | ROLE_NODE | ROLE_MONITOR)
#define ROLE_NOBODY 0u /* the route asks for no key */

typedef enum Place
{
	IN_PATH,
	IN_QUERY,
	IN_BODY,   /* a member of the JSON object that is the body */
	IN_HEADER, /* the parameter's name is the header's */
	IN_WHOLE   /* the whole body: JSON for TYPE_JSON, else as it came */
} Place;

typedef enum ParameterType
{
	TYPE_TEXT,
	TYPE_NAME, /* a text without control characters, of 1 to 200 bytes unless "most" says else */
	TYPE_INT,  /* 32 bits */
	TYPE_BIGINT,
	TYPE_NUMBER,
	TYPE_BOOLEAN,
	TYPE_TIMESTAMP, /* RFC 3339 */
	TYPE_INTERVAL,	/* ISO 8601 or PostgreSQL's own writing */
	TYPE_UUID,
	TYPE_JSON,	 /* any; passed on as it was written, so that numbers keep their digits */
	TYPE_OBJECT, /* a JSON object */
	TYPE_ARRAY,	 /* a JSON array */
	TYPE_TEXTS,	 /* an array of texts, passed on as PostgreSQL's text[] */
	TYPE_BYTES,	 /* passed on as bytea; only IN_WHOLE */
	TYPES
} ParameterType;

typedef struct Parameter
{
	const char *name;
	Place place;
	ParameterType type;
	bool is_required;
	const char *standard; /* taken when it is not given; NULL: null */
	double least;		  /* of a number, or the length of a text; least = most = 0: any */
	double most;
	const char *const *choices; /* of a text, up to a NULL */
	const char *description;
	bool is_secret;	  /* its example is not shown */
	bool is_handlers; /* not the statement's; these stand behind those that are */
} Parameter;

/* What comes of a statement's rows. */
typedef enum Shape
{
	SHAPE_ROWS,	   /* 200 and an array of objects */
	SHAPE_ROW,	   /* 200 and an object; 404 when there is no row, or its first column is null */
	SHAPE_CREATED, /* as SHAPE_ROW with 201 */
	SHAPE_NOTHING, /* 204 */
	SHAPE_TEXT,	   /* the one value as it is */
	SHAPE_OWN	   /* "handle" answers */
} Shape;

typedef enum Caching
{
	CACHE_NO_STORE,
	CACHE_ETAG /* private, no-cache, with an ETag: 304 when nothing has changed */
} Caching;

typedef struct Route
{
	Method method;
	/*
	 * /nodes/{node_name}: a part in braces is a parameter IN_PATH. The last one may end with a star
	 * as /models/{model*}: then it is all that follows, with its slashes.
	 */
	const char *path;
	Group group;
	const char *summary;
	const char *description; /* may be NULL */
	const char *sql;		 /* $1, $2 ... are the parameters in their order */
	bool is_write;			 /* goes to the lead */
	bool is_slow;			 /* may take long: does not hold up others */
	unsigned roles;
	bool is_open; /* is handled without a credential as well; the handler asks for one */
	Shape shape;
	Caching caching;
	int timeout;							/* ms for the statement; 0: statement_timeout */
	Parameter parameters[ROUTE_PARAMETERS]; /* up to one without a name */

	/*
	 * Called when the request is whole and its parameters are checked; it answers now or later.
	 * With one the request's credential is checked only by the units that it runs.
	 */
	void (*handle)(Request *request);

	/* Has problems written in another form than problem+json; NULL for that. See request_problem().
	 */
	void (*problem)(Request *request, int status, const char *sqlstate, const char *title,
					const char *detail, const char *hint);
	const char *answer; /* the answer's media type when it is not application/json */

	/* Columns of the answer, "name type description" each in a line, for the description. */
	const char *columns;
} Route;

typedef struct RouteTable
{
	const Route *routes;
	const size_t *count;
} RouteTable;

/* All tables, up to one without routes. Who adds a table names it in route_tables.c. */
extern const RouteTable route_tables[];

/* Has to be called once before the others. */
extern void route_index(void);

/*
 * The route of a path that was decoded and a method. "values" get the path's parameters, cut out of
 * the path, at their places in the route's list. Without a route: NULL, and the methods that the
 * path has, as bits.
 */
extern const Route *route_find(Method method, char *path, unsigned groups,
							   const char *values[ROUTE_PARAMETERS], unsigned *methods);

/* Goes over all routes: the one behind "route", or the first of NULL. */
extern const Route *route_next(const Route *route);

/* "GET /nodes/{node_name}", as assume_key() takes it; of a route in the tables. */
extern const char *route_name(const Route *route);

/* A name for its prepared statement. */
extern const char *route_statement(const Route *route);

/* How many of its parameters are the statement's. */
extern int route_statement_count(const Route *route);

/* Its place among all routes, for counters. */
extern size_t route_number(const Route *route);
extern size_t route_count(void);

#endif
