/*
 * URLs of Redis: redis://[[user]:password@]host[:port], rediss:// for TLS, and
 * unix://[[user]:password@]/path for a socket. In passwords "%40" stands for an "@", and so on.
 */
#include "events/events.h"

static int
hex_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * Copies a part of the URL with its escapes undone; false when it does not fit or has a bad one.
 */
static bool
copy_part(char *to, size_t size, const char *from, size_t length)
{
	size_t written = 0;

	for (size_t i = 0; i < length; i++)
	{
		int high = from[i] == '%' && i + 2 < length ? hex_of(from[i + 1]) : -1;
		int low = high >= 0 ? hex_of(from[i + 2]) : -1;
		char c = from[i];

		if (from[i] == '%')
		{
			if (low < 0 || (high == 0 && low == 0))
				return false;
			c = (char) (high * 16 + low);
			i += 2;
		}
		if (written + 1 >= size)
			return false;
		to[written++] = c;
	}
	to[written] = '\0';
	return true;
}

/*
 * Takes "[user]:password@" off the front.
 */
static const char *
parse_login(const char *text, AuroraRedisUrl *url, const char **problem)
{
	const char *at = strrchr(text, '@');
	const char *colon = at ? memchr(text, ':', at - text) : NULL;

	if (at == NULL)
		return text;
	if (colon == NULL)
		*problem = "before an \"@\" there is a user, a colon and a password";
	else if (!copy_part(url->user, sizeof(url->user), text, colon - text) ||
			 !copy_part(url->password, sizeof(url->password), colon + 1, at - colon - 1))
		*problem = "user or password are too long, or have a bad escape";
	return at + 1;
}

static const char *
parse_host(const char *text, AuroraRedisUrl *url)
{
	size_t length = strcspn(text, ":/");
	const char *rest;
	char *end;
	long port = 6379;

	if (text[0] == '[')
	{
		length = strcspn(text, "]");
		if (text[length] != ']')
			return "an address in brackets has no end";
		text++;
		length--;
	}
	if (length == 0 || !copy_part(url->host, sizeof(url->host), text, length))
		return "there is no host, or one that is too long";
	rest = text + length + (text[length] == ']' ? 1 : 0);
	if (rest[0] == ':')
	{
		port = strtol(rest + 1, &end, 10);
		if (end == rest + 1 || port < 1 || port > 65535)
			return "a port is a number from 1 to 65535";
		rest = end;
	}
	if (rest[0] != '\0' && strcmp(rest, "/") != 0)
		return "nothing follows host and port: publishing knows no numbers of databases";
	snprintf(url->port, sizeof(url->port), "%ld", port);
	return NULL;
}

const char *
aurora_redis_url_parse(const char *text, AuroraRedisUrl *url)
{
	const char *problem = NULL;

	memset(url, 0, sizeof(*url));
	if (strncmp(text, "rediss://", 9) == 0)
		url->tls = true;
	else if (strncmp(text, "unix://", 7) == 0)
		url->local = true;
	else if (strncmp(text, "redis://", 8) != 0)
		return "it begins with redis://, rediss:// or unix://";
	text = parse_login(strstr(text, "://") + 3, url, &problem);
	if (problem)
		return problem;
	if (!url->local)
		return parse_host(text, url);
	if (text[0] != '/' || strlen(text) >= 108 ||
		!copy_part(url->host, sizeof(url->host), text, strlen(text)))
		return "the path of a socket begins with a slash and has at most 107 characters";
	return NULL;
}
