/*
 * Times as PostgreSQL writes them.
 */
#include "recover/text.h"

#include <stddef.h>
#include <string.h>

#define MICROSECONDS 1000000
#define LAST_YEAR 294276	   /* of PostgreSQL's timestamps */
#define LAST_EXACT_YEAR 290000 /* of microseconds since 1970; what is later never comes */

/*
 * Days from 1970-01-01 to a date: years begin in March here, so that a leap day is their last.
 */
static int64_t
days_to(int64_t year, int64_t month, int64_t day)
{
	int64_t march_year = month > 2 ? year : year - 1;
	int64_t march_month = month > 2 ? month - 3 : month + 9;

	return march_year * 365 + march_year / 4 - march_year / 100 + march_year / 400 +
		   (march_month * 153 + 2) / 5 + day - 1 - 719468;
}

/*
 * Reads so many digits at least, and so many at most, and goes behind them.
 */
static bool
read_digits(const char **at, int least, int most, int64_t *number)
{
	int count = 0;

	*number = 0;
	while (count < most && **at >= '0' && **at <= '9')
	{
		*number = *number * 10 + (**at - '0');
		(*at)++;
		count++;
	}
	return count >= least;
}

static bool
read_char(const char **at, const char *which)
{
	if (**at == '\0' || strchr(which, **at) == NULL)
		return false;
	(*at)++;
	return true;
}

/*
 * Reads hours, minutes and seconds; of a zone all but the hours may be missing.
 */
static bool
read_clock(const char **at, bool is_zone, int64_t *seconds)
{
	int64_t part[3] = {0, 0, 0};

	if (!read_digits(at, 2, 2, &part[0]))
		return false;
	for (int i = 1; i < 3; i++)
	{
		if (is_zone && **at != ':')
			break;
		if (!read_char(at, ":") || !read_digits(at, 2, 2, &part[i]))
			return false;
	}
	*seconds = part[0] * 3600 + part[1] * 60 + part[2];
	return part[0] <= 24 && part[1] < 60 && part[2] <= 60;
}

static bool
read_fraction(const char **at, int64_t *microseconds)
{
	const char *begin;
	int64_t digits;

	*microseconds = 0;
	if (!read_char(at, "."))
		return true;
	begin = *at;
	if (!read_digits(at, 1, 6, &digits))
		return false;
	for (ptrdiff_t count = *at - begin; count < 6; count++)
		digits *= 10;
	*microseconds = digits;
	return true;
}

static bool
read_zone(const char **at, int64_t *seconds)
{
	bool is_west = **at == '-';

	if (read_char(at, "Z"))
	{
		*seconds = 0;
		return true;
	}
	if (!read_char(at, "+-") || !read_clock(at, true, seconds))
		return false;
	if (is_west)
		*seconds = -*seconds;
	return true;
}

bool
text_time(const char *text, int64_t *time)
{
	int64_t year, month, day, clock, fraction, zone;
	const char *at = text;

	*time = strcmp(text, "infinity") == 0 ? INT64_MAX : INT64_MIN;
	if (strcmp(text, "infinity") == 0 || strcmp(text, "-infinity") == 0)
		return true;
	if (!read_digits(&at, 4, 6, &year) || !read_char(&at, "-") || !read_digits(&at, 2, 2, &month) ||
		!read_char(&at, "-") || !read_digits(&at, 2, 2, &day) || !read_char(&at, " T") ||
		!read_clock(&at, false, &clock) || !read_fraction(&at, &fraction) || !read_zone(&at, &zone))
		return false;
	if (year < 1 || year > LAST_YEAR || month < 1 || month > 12 || day < 1 || day > 31)
		return false;
	if (strcmp(at, " BC") == 0)
		return true;
	if (year > LAST_EXACT_YEAR)
	{
		*time = INT64_MAX;
		return *at == '\0';
	}
	*time = (days_to(year, month, day) * 86400 + clock - zone) * MICROSECONDS + fraction;
	return *at == '\0';
}
