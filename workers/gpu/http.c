/*
 * HTTP requests in the loop, by libcurl's multi interface.
 */
#include "gpu/http.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "common/clock.h"
#include "common/memory.h"
#include "gpu/retry.h"

struct Http
{
	Loop *loop;
	CURLM *multi;
	Timer timer;
	Timer sweep; /* looks for requests that have ended, outside of callbacks */
};

struct HttpRequest
{
	Http *http;
	CURL *easy;
	struct curl_slist *headers;
	HttpEvents events;
	void *context;
	char error[CURL_ERROR_SIZE];
};

/* ---- the loop ---- */

static void
look_for_ends(void *context)
{
	Http *http = context;
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(http->multi, &left)) != NULL)
	{
		HttpRequest *request;
		HttpEnd end = {0};
		CURLcode code = message->data.result;
		struct curl_header *header;

		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request);
		end.was_reached = code != CURLE_COULDNT_CONNECT && code != CURLE_COULDNT_RESOLVE_HOST;
		if (code == CURLE_OPERATION_TIMEDOUT)
		{
			double connected = 0;

			curl_easy_getinfo(request->easy, CURLINFO_PRETRANSFER_TIME, &connected);
			end.was_reached = connected > 0;
		}
		if (code != CURLE_OK)
			end.problem = request->error[0] ? request->error : curl_easy_strerror(code);
		end.status = http_status(request);
		end.retry_after = -1;
		if (curl_easy_header(request->easy, "retry-after", 0, CURLH_HEADER, -1, &header) ==
			CURLHE_OK)
			end.retry_after = retry_after_header(header->value, (int64_t) time(NULL));
		request->events.ended(request->context, &end);
		http_cancel(request);
	}
}

static void
act(Http *http, curl_socket_t fd, int what)
{
	int running;

	(void) curl_multi_socket_action(http->multi, fd, what, &running);
	loop_set(http->loop, &http->sweep, clock_ms());
}

static void
handle(void *context, int fd, uint32_t events)
{
	int what = 0;

	if (events & (EPOLLIN | EPOLLHUP))
		what |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		what |= CURL_CSELECT_OUT;
	if (events & EPOLLERR)
		what |= CURL_CSELECT_ERR;
	act(context, fd, what);
}

static void
time_is_up(void *context)
{
	act(context, CURL_SOCKET_TIMEOUT, 0);
}

static int
set_timer(CURLM *multi, long wait, void *context)
{
	Http *http = context;

	(void) multi;
	if (wait < 0)
		loop_unset(http->loop, &http->timer);
	else
		loop_set(http->loop, &http->timer, clock_ms() + wait);
	return 0;
}

static int
set_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *socket_context)
{
	Http *http = context;

	(void) easy;
	(void) socket_context;
	if (what == CURL_POLL_REMOVE)
		loop_forget(http->loop, fd);
	else
		loop_watch(http->loop, fd,
				   (what & CURL_POLL_IN ? EPOLLIN : 0U) | (what & CURL_POLL_OUT ? EPOLLOUT : 0U),
				   handle, http);
	return 0;
}

Http *
http_open(Loop *loop)
{
	Http *http = memory_get(sizeof(Http));

	http->loop = loop;
	http->timer = (Timer) {.due = time_is_up, .context = http};
	http->sweep = (Timer) {.due = look_for_ends, .context = http};
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
		(http->multi = curl_multi_init()) == NULL)
	{
		free(http);
		return NULL;
	}
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	return http;
}

void
http_close(Http *http)
{
	if (http == NULL)
		return;
	curl_multi_cleanup(http->multi);
	loop_unset(http->loop, &http->timer);
	loop_unset(http->loop, &http->sweep);
	curl_global_cleanup();
	free(http);
}

/* ---- requests ---- */

/*
 * Bytes that are refused are kept by the library, which reads no more from the socket then.
 */
static size_t
take_bytes(char *bytes, size_t one, size_t size, void *context)
{
	HttpRequest *request = context;

	(void) one;
	return request->events.bytes(request->context, bytes, size) ? size : CURL_WRITEFUNC_PAUSE;
}

static void
add_header(HttpRequest *request, const char *text)
{
	struct curl_slist *longer = curl_slist_append(request->headers, text);

	if (longer)
		request->headers = longer;
}

static void
add_headers(HttpRequest *request, const HttpOptions *options)
{
	Buffer key = {0};

	add_header(request, "Expect:");
	if (options->body)
		add_header(request, "Content-Type: application/json");
	if (options->api_key)
	{
		buffer_print(&key, "Authorization: Bearer %s", options->api_key);
		add_header(request, key.bytes);
		buffer_wipe(&key);
	}
	curl_easy_setopt(request->easy, CURLOPT_HTTPHEADER, request->headers);
}

HttpRequest *
http_start(Http *http, const HttpOptions *options, const HttpEvents *events, void *context)
{
	HttpRequest *request = memory_get(sizeof(HttpRequest));
	CURL *easy = curl_easy_init();

	*request = (HttpRequest) {.http = http, .easy = easy, .events = *events, .context = context};
	curl_easy_setopt(easy, CURLOPT_URL, options->url);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* whatever the environment says */
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "aurora-gpu-worker/" AURORA_VERSION);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) options->connect_timeout);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) options->timeout);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_bytes);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	if (options->body)
	{
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) strlen(options->body));
		curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, options->body);
	}
	add_headers(request, options);
	(void) curl_multi_add_handle(http->multi, easy);
	return request;
}

long
http_status(const HttpRequest *request)
{
	long status = 0;

	curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

bool
http_is_event_stream(const HttpRequest *request)
{
	char *type = NULL;

	curl_easy_getinfo(request->easy, CURLINFO_CONTENT_TYPE, &type);
	return type && strncasecmp(type, "text/event-stream", 17) == 0;
}

void
http_resume(HttpRequest *request)
{
	(void) curl_easy_pause(request->easy, CURLPAUSE_CONT);
	loop_set(request->http->loop, &request->http->sweep, clock_ms());
}

void
http_cancel(HttpRequest *request)
{
	(void) curl_multi_remove_handle(request->http->multi, request->easy);
	curl_easy_cleanup(request->easy);
	for (struct curl_slist *header = request->headers; header; header = header->next)
		explicit_bzero(header->data, strlen(header->data));
	curl_slist_free_all(request->headers);
	free(request);
}
