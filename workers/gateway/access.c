/*
 * The line that the log gets for each request.
 */
#include "gateway/access.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "common/clock.h"
#include "common/log.h"
#include "gateway/exchange.h"

void
access_address(const struct sockaddr *address, char *to, size_t size)
{
	to[0] = '\0';
	if (address->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *) (const void *) address)->sin_addr, to,
				  (socklen_t) size);
	else if (address->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *) (const void *) address)->sin6_addr, to,
				  (socklen_t) size);
}

/*
 * The route is the template, so that names in paths do not get into logs.
 */
void
access_log(const Request *request, bool is_sent)
{
	const RequestInside *inside = request->inside;

	if (!log_has(LOG_INFO))
		return;
	log_event(LOG_INFO, "request", TEXT("request_id", request->id),
			  TEXT("method", method_names[request->method]),
			  TEXT("route", request->route ? request->route->path : NULL),
			  NUMBER("status", inside->status), NUMBER("us", clock_us() - request->started),
			  NUMBER("db_us", request->spent_db), NUMBER("bytes", (int64_t) inside->size),
			  TEXT("client", request->address[0] ? request->address : NULL),
			  TEXT("sent", is_sent ? NULL : "no"));
}
