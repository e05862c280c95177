/*
 * HTTP requests and TCP connects through libcurl, which waits for nothing.
 *
 * Debian's libcurl resolves names in threads of its own. Signals are for the main thread only, so
 * they are blocked while libcurl may start one.
 */
#include "registry/transfer.h"

#include <curl/curl.h>
#include <signal.h>
#include <sys/epoll.h>

#include "libpq/pqsignal.h"

#define MAX_BODY 65536 /* of an answer; its status is what counts */

static AuroraPoller *poller = NULL;
static CURLM *multi = NULL;
static int64 timer_us = -1; /* when libcurl wants to be called; -1 for never */

static void
block_signals(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, before);
}

static void
unblock_signals(const sigset_t *before)
{
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* ---- events ---- */

static void
finish(CURL *easy, CURLcode code)
{
	AuroraTransfer *transfer = NULL;
	long status = 0;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &transfer);
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	transfer->status = (int) status;
	/* What was cut off because it is long has told its status. */
	transfer->ok = code == CURLE_OK || (code == CURLE_WRITE_ERROR && status != 0);
	if (!transfer->ok && transfer->error[0] == '\0')
		strlcpy(transfer->error, curl_easy_strerror(code), sizeof(transfer->error));
	transfer->ended = true;
	transfer->easy = NULL;
	curl_multi_remove_handle(multi, easy);
	curl_easy_cleanup(easy);
}

static void
finish_done(void)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
		if (message->msg == CURLMSG_DONE)
			finish(message->easy_handle, message->data.result);
}

static void
act(int fd, int events)
{
	sigset_t before;
	int running;

	block_signals(&before);
	(void) curl_multi_socket_action(multi, fd, events, &running);
	finish_done();
	unblock_signals(&before);
}

static void
serve(void *argument, int fd, uint32 events)
{
	act(fd, (events & EPOLLIN ? CURL_CSELECT_IN : 0) | (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
				(events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0));
}

static int
watch_socket(CURL *easy, curl_socket_t fd, int what, void *argument, void *socket)
{
	if (what == CURL_POLL_REMOVE)
		aurora_poller_forget(poller, fd);
	else
		aurora_poller_watch(
			poller, fd, (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0),
			serve, NULL);
	return 0;
}

static int
set_timer(CURLM *handle, long timeout_ms, void *argument)
{
	timer_us = timeout_ms < 0 ? -1 : aurora_clock_us() + timeout_ms * 1000L;
	return 0;
}

void
aurora_transfer_step(void)
{
	if (timer_us >= 0 && timer_us <= aurora_clock_us())
	{
		timer_us = -1;
		act(CURL_SOCKET_TIMEOUT, 0);
	}
}

int64
aurora_transfer_next_us(void)
{
	return timer_us < 0 ? PG_INT64_MAX : Max(timer_us - aurora_clock_us(), 0);
}

/* ---- requests ---- */

/*
 * Counts what comes in the handle's own memory, and stops a body that is too long.
 */
static size_t
take_body(char *bytes, size_t size, size_t count, void *argument)
{
	CURL *easy = argument;
	curl_off_t so_far = 0;

	curl_easy_getinfo(easy, CURLINFO_SIZE_DOWNLOAD_T, &so_far);
	return so_far > MAX_BODY ? 0 : size * count;
}

static CURL *
new_request(AuroraTransfer *transfer, const char *url, int timeout_ms)
{
	CURL *easy = curl_easy_init();

	memset(transfer, 0, sizeof(*transfer));
	if (easy == NULL)
		return NULL;
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* do not wait for a name server at the end */
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) timeout_ms);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "aurora-agent/" AURORA_VERSION);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, easy);
	return easy;
}

static void
start(AuroraTransfer *transfer, CURL *easy)
{
	sigset_t before;

	if (easy == NULL)
	{
		transfer->ended = true;
		strlcpy(transfer->error, "out of memory", sizeof(transfer->error));
		return;
	}
	transfer->easy = easy;
	block_signals(&before);
	curl_multi_add_handle(multi, easy);
	unblock_signals(&before);
}

void
aurora_transfer_http(AuroraTransfer *transfer, const char *url, int timeout_ms, bool through_proxy)
{
	CURL *easy = new_request(transfer, url, timeout_ms);

	if (easy && !through_proxy)
		curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	start(transfer, easy);
}

void
aurora_transfer_tcp(AuroraTransfer *transfer, const char *host_and_port, int timeout_ms)
{
	char url[AURORA_TARGET_SIZE + 16];
	CURL *easy;

	snprintf(url, sizeof(url), "http://%s", host_and_port);
	easy = new_request(transfer, url, timeout_ms);
	if (easy)
	{
		curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
		curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	}
	start(transfer, easy);
}

void
aurora_transfer_cancel(AuroraTransfer *transfer)
{
	sigset_t before;

	if (transfer->easy == NULL)
		return;
	block_signals(&before);
	curl_multi_remove_handle(multi, transfer->easy);
	curl_easy_cleanup(transfer->easy);
	unblock_signals(&before);
	transfer->easy = NULL;
}

void
aurora_transfer_start_all(AuroraPoller *the_poller)
{
	poller = the_poller;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || (multi = curl_multi_init()) == NULL)
		ereport(FATAL, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("libcurl could not be set up")));
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
}
