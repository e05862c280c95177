/*
 * Why an item is on the surface, in a short sentence that a person understands, such as
 * "deal of $82,000 silent for 9 days; closes tomorrow".
 */
#include "priority/priority.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/date.h"
#include "utils/fmgroids.h"

#define WEEKS_FROM_DAYS 14
#define DATE_FROM_DAYS 70

/* Columns of aurora.person. */
enum
{
	PERSON_COMPANY_ID = 1,
	PERSON_EMAIL,
	PERSON_NAME
};

typedef struct Sentence
{
	StringInfoData words;
	const AuroraRow *row;
	TupleDesc desc;
	TimestampTz at;
	Snapshot snapshot;
} Sentence;

static bool
column(const Sentence *sentence, int number, Datum *value)
{
	bool isnull;

	*value = heap_getattr(sentence->row->tuple, number, sentence->desc, &isnull);
	return !isnull;
}

static bool
time_column(const Sentence *sentence, int number, TimestampTz *time)
{
	Datum value;

	if (!column(sentence, number, &value))
		return false;
	*time = DatumGetTimestampTz(value);
	return !TIMESTAMP_NOT_FINITE(*time);
}

/* ---- words for times and money ---- */

static DateADT
local_date(TimestampTz time)
{
	return DatumGetDateADT(DirectFunctionCall1(timestamptz_date, TimestampTzGetDatum(time)));
}

/*
 * A date as 2027-01-31, whatever the session's DateStyle.
 */
static char *
date_words(DateADT date)
{
	int year;
	int month;
	int day;

	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	return psprintf("%04d-%02d-%02d", year, month, day);
}

static char *
count_of(int64 number, const char *unit)
{
	return psprintf(INT64_FORMAT " %s%s", number, unit, number == 1 ? "" : "s");
}

/*
 * A span of time in its largest fitting unit, such as "9 days".
 */
static char *
span_words(int64 span)
{
	if (span < USECS_PER_HOUR)
		return count_of(Max(span / USECS_PER_MINUTE, 0), "minute");
	if (span < 2 * USECS_PER_DAY)
		return count_of(span / USECS_PER_HOUR, "hour");
	if (span < WEEKS_FROM_DAYS * USECS_PER_DAY)
		return count_of(span / USECS_PER_DAY, "day");
	return count_of(span / (7 * USECS_PER_DAY), "week");
}

/*
 * When something is, seen from "at": "in 3 hours", "tomorrow", "2 days ago", "on 2027-01-31".
 * Days are those of the session's time zone.
 */
static char *
when_words(TimestampTz time, TimestampTz at)
{
	int64 slack = aurora_slack(time, at);
	int64 span = slack < 0 ? (slack == PG_INT64_MIN ? PG_INT64_MAX : -slack) : slack;
	int64 days = (int64) local_date(time) - local_date(at);

	if (span < USECS_PER_MINUTE)
		return "now";
	if (span >= DATE_FROM_DAYS * USECS_PER_DAY)
		return psprintf("on %s", date_words(local_date(time)));
	if (days == 1 && span >= 6 * USECS_PER_HOUR)
		return "tomorrow";
	if (days == -1 && span >= 6 * USECS_PER_HOUR)
		return "yesterday";
	return slack >= 0 ? psprintf("in %s", span_words(span)) : psprintf("%s ago", span_words(span));
}

/*
 * An amount with thousands set apart: "$82,000", "EUR 1,250.50". Cents only below 100.
 */
static char *
money_words(Numeric amount, const char *currency)
{
	StringInfoData words;
	Datum size = DirectFunctionCall1(numeric_abs, NumericGetDatum(amount));
	Datum hundred = NumericGetDatum(int64_to_numeric(100));
	bool small = DatumGetBool(DirectFunctionCall2(numeric_lt, size, hundred));
	Datum rounded =
		DirectFunctionCall2(numeric_round, NumericGetDatum(amount), Int32GetDatum(small ? 2 : 0));
	char *digits = DatumGetCString(DirectFunctionCall1(numeric_out, rounded));
	int length = strcspn(digits, ".");

	initStringInfo(&words);
	if (strcmp(currency, "USD") == 0)
		appendStringInfoChar(&words, '$');
	else
		appendStringInfo(&words, "%s ", currency);
	for (int i = 0; digits[i]; i++)
	{
		int left = length - i;

		appendStringInfoChar(&words, digits[i]);
		if (left > 1 && left % 3 == 1 && digits[i] != '-')
			appendStringInfoChar(&words, ',');
	}
	return words.data;
}

/* ---- parts of the sentence ---- */

/*
 * The name that is known for the item's sender, or its address.
 */
static char *
sender_name(const Sentence *sentence)
{
	Datum email;
	AuroraScan scan;
	ScanKeyData keys[2];
	char *name = NULL;

	if (!column(sentence, ITEM_SENDER, &email))
		return NULL;
	ScanKeyInit(&keys[0], PERSON_COMPANY_ID, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(sentence->row->key.company_id));
	ScanKeyInit(&keys[1], PERSON_EMAIL, BTEqualStrategyNumber, F_TEXTEQ, email);
	aurora_scan_open(&scan, "person", "person_pkey", sentence->snapshot, 2, keys);
	if (aurora_scan_next(&scan) && !scan.nulls[PERSON_NAME - 1])
		name = TextDatumGetCString(scan.values[PERSON_NAME - 1]);
	aurora_scan_close(&scan);
	return name ? name : TextDatumGetCString(email);
}

static void
add_subject(Sentence *sentence, AuroraKind base)
{
	StringInfo out = &sentence->words;
	Datum value;
	char *sender;

	if (base == AURORA_KIND_INCIDENT && column(sentence, ITEM_SEVERITY, &value))
		appendStringInfo(out, "severity %d ", DatumGetInt16(value));
	if (sentence->row->features.vip)
		appendStringInfoString(out, "VIP ");
	column(sentence, ITEM_KIND, &value);
	appendStringInfoString(out, TextDatumGetCString(value));
	if (base == AURORA_KIND_EMAIL && (sender = sender_name(sentence)) != NULL)
		appendStringInfo(out, " from %s", sender);
	if (column(sentence, ITEM_AMOUNT, &value))
	{
		Datum currency;

		column(sentence, ITEM_CURRENCY, &currency);
		appendStringInfo(out, base == AURORA_KIND_DEAL ? " of %s" : " worth %s",
						 money_words(DatumGetNumeric(value), TextDatumGetCString(currency)));
	}
}

/*
 * How long nothing happened on it; or how long it has waited, unless its due time says more.
 */
static void
add_silence(Sentence *sentence, AuroraKind base)
{
	TimestampTz since;
	TimestampTz due;
	int64 span;

	if (time_column(sentence, ITEM_LAST_ACTIVITY_AT, &since))
	{
		span = aurora_slack(sentence->at, since);
		if (span >= USECS_PER_DAY)
			appendStringInfo(&sentence->words, " silent for %s", span_words(span));
		return;
	}
	if (base == AURORA_KIND_MEETING ||
		(base != AURORA_KIND_EMAIL && time_column(sentence, ITEM_DUE_AT, &due)))
		return;
	if (time_column(sentence, ITEM_RECEIVED_AT, &since))
	{
		span = aurora_slack(sentence->at, since);
		if (span < USECS_PER_MINUTE)
			appendStringInfoString(&sentence->words, " just in");
		else
			appendStringInfo(&sentence->words,
							 base == AURORA_KIND_EMAIL ? " waiting for %s" : " open for %s",
							 span_words(span));
	}
}

static void
add_due(Sentence *sentence, AuroraKind base)
{
	static const struct
	{
		const char *ahead;
		const char *past;
	} verbs[AURORA_KIND_BUILTIN_COUNT] = {
		[AURORA_KIND_DEAL] = {"closes", "was to close"},
		[AURORA_KIND_MEETING] = {"begins", "began"},
	};
	const char *ahead = verbs[base].ahead ? verbs[base].ahead : "due";
	const char *past = verbs[base].past ? verbs[base].past : "was due";
	TimestampTz due;

	if (time_column(sentence, ITEM_DUE_AT, &due))
		appendStringInfo(&sentence->words, "; %s %s", due >= sentence->at ? ahead : past,
						 when_words(due, sentence->at));
}

static void
add_corrections(Sentence *sentence)
{
	const AuroraFeatures *features = &sentence->row->features;

	if (features->risk >= 2)
		appendStringInfoString(&sentence->words,
							   features->risk == 3 ? "; at great risk" : "; at risk");
	if (features->boost != 0)
		appendStringInfoString(&sentence->words, features->boost > 0 ? "; raised" : "; lowered");
}

char *
aurora_why(const AuroraRow *row, TupleDesc item_desc, TimestampTz at, Snapshot snapshot)
{
	Sentence sentence = {.row = row, .desc = item_desc, .at = at, .snapshot = snapshot};
	AuroraKind base = row->scope->policy->company->kinds[row->features.kind].base;

	initStringInfo(&sentence.words);
	add_subject(&sentence, base);
	add_silence(&sentence, base);
	add_due(&sentence, base);
	add_corrections(&sentence);
	return sentence.words.data;
}
