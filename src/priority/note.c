/*
 * What readers of events learn of items: each owner's topic items/OWNER tells which changed.
 */
#include "priority/priority.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "commands/trigger.h"
#include "events/events.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#define TOPIC_PREFIX "items/"

PG_FUNCTION_INFO_V1(aurora_note_item);

static bool
may_read(const AuroraIdentity *identity, int32 company_id, const char *owner)
{
	return aurora_identity_sees(identity, company_id, owner);
}

void
aurora_priority_note_init(void)
{
	aurora_topic_reserve(TOPIC_PREFIX, may_read);
}

static Datum
column(HeapTuple tuple, TupleDesc desc, int number)
{
	bool isnull;

	return heap_getattr(tuple, number, desc, &isnull);
}

static void
note(HeapTuple tuple, TupleDesc desc)
{
	char *owner = TextDatumGetCString(column(tuple, desc, ITEM_OWNER));
	char *topic = psprintf(TOPIC_PREFIX "%s", owner);
	char id[24];

	snprintf(id, sizeof(id), INT64_FORMAT, DatumGetInt64(column(tuple, desc, ITEM_ITEM_ID)));
	aurora_event_note(DatumGetInt32(column(tuple, desc, ITEM_COMPANY_ID)), topic, id);
	pfree(topic);
	pfree(owner);
}

/*
 * After each row. An item that goes to another owner is news for both.
 */
Datum
aurora_note_item(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc desc;
	HeapTuple before;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("note_item() is a row trigger of aurora.item")));
	desc = RelationGetDescr(trigger->tg_relation);
	before = trigger->tg_trigtuple;
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		note(trigger->tg_newtuple, desc);
		if (DatumGetBool(DirectFunctionCall2Coll(textne, C_COLLATION_OID,
												 column(before, desc, ITEM_OWNER),
												 column(trigger->tg_newtuple, desc, ITEM_OWNER))))
			note(before, desc);
	}
	else
		note(before, desc);
	return PointerGetDatum(NULL);
}
