/*
 * How often a client may do something.
 */
#include "gateway/allowance.h"
#include "tests/tap.h"

static Grant
take_many(Allowance *allowance, int count, int64_t now)
{
	Grant grant = GRANTED;

	for (int i = 0; i < count; i++)
		grant = allowance_take(allowance, 10, 5, now);
	return grant;
}

int
main(void)
{
	Allowance allowance = {0};
	Allowance steady = {0};
	bool is_granted = true;

	ok(take_many(&allowance, 10, 1000) == GRANTED, "ten at once are granted");
	ok(take_many(&allowance, 1, 1000) == GRANT_REFUSED, "one more is refused");
	ok(take_many(&allowance, 1, 1400) == GRANTED, "who waits may go on");
	ok(take_many(&allowance, 1, 1400) == GRANT_REFUSED, "a little");
	ok(take_many(&allowance, 10, 100000) == GRANTED, "but has no more in the end than at first");
	ok(take_many(&allowance, 9, 100000) == GRANT_REFUSED, "nine are refused");
	ok(take_many(&allowance, 1, 100000) == GRANT_ENDED, "who goes on then is at its end");
	for (int i = 0; i < 1000; i++)
		is_granted &= allowance_take(&steady, 10, 5, 1000 + i * 200) == GRANTED;
	ok(is_granted, "five a second are granted for ever");
	return done();
}
