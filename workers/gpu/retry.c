/*
 * What becomes of a job whose attempt failed.
 */
#include "gpu/retry.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include <curl/curl.h>

#define LONGEST_WAIT ((int64_t) 3600 * 1000)
#define LOADING_WAIT 2000
#define BUSY_WAIT 1000
#define UNREACHED_WAIT 1000

static bool
has(const char *text, const char *part)
{
	return text && strcasestr(text, part);
}

/*
 * A wait that the server asks for, or one of ours.
 */
static int64_t
asked_or(int64_t retry_after, int64_t otherwise)
{
	if (retry_after < 0)
		return otherwise;
	return retry_after > LONGEST_WAIT ? LONGEST_WAIT : retry_after;
}

Retry
retry_http(long status, const char *type, const char *code, const char *message,
		   int64_t retry_after)
{
	Retry retry = {.wait = RETRY_BY_QUEUE};

	switch (status)
	{
		case 404:
			retry.lacks_model = true; /* another node may have it */
			break;
		case 408:
		case 425:
			break;
		case 429:
			retry.is_final = has(type, "insufficient_quota") || has(code, "insufficient_quota");
			retry.wait = asked_or(retry_after, RETRY_BY_QUEUE);
			retry.rest = asked_or(retry_after, BUSY_WAIT);
			break;
		case 501:
			retry.is_final = true;
			break;
		case 502:
		case 503:
		case 504:
			retry.is_loading = status == 503 && has(message, "loading");
			retry.wait = asked_or(retry_after, retry.is_loading ? LOADING_WAIT : RETRY_BY_QUEUE);
			retry.rest = asked_or(retry_after, retry.is_loading ? LOADING_WAIT : BUSY_WAIT);
			break;
		default:
			retry.is_final = status < 500;
			break;
	}
	if (retry.is_final)
		retry.wait = RETRY_BY_QUEUE;
	return retry;
}

Retry
retry_broken(bool was_reached)
{
	return (Retry) {.wait = was_reached ? RETRY_BY_QUEUE : UNREACHED_WAIT,
					.rest = was_reached ? 0 : UNREACHED_WAIT};
}

/*
 * Exit statuses are those of sysexits.h, where they say something; 126 and 127 are a shell's for a
 * program that cannot be run.
 */
Retry
retry_command(int exit_status)
{
	Retry retry = {.wait = RETRY_BY_QUEUE};

	retry.is_final = exit_status == EX_USAGE || exit_status == EX_DATAERR ||
					 exit_status == EX_NOINPUT || exit_status == EX_NOPERM ||
					 exit_status == EX_CONFIG || exit_status == 126 || exit_status == 127;
	return retry;
}

int64_t
retry_after_header(const char *value, int64_t now)
{
	char *end;
	long long seconds;
	time_t at;

	if (value == NULL)
		return -1;
	value += strspn(value, " \t");
	seconds = strtoll(value, &end, 10);
	if (end != value && (*end == '\0' || strchr(" \t\r\n.", *end)))
		return seconds < 0 ? 0 : seconds > LONGEST_WAIT / 1000 ? LONGEST_WAIT : seconds * 1000;
	at = curl_getdate(value, NULL);
	if (at < 0)
		return -1;
	return at <= now ? 0 : (at - now) * 1000 > LONGEST_WAIT ? LONGEST_WAIT : (at - now) * 1000;
}
