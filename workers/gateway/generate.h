/*
 * Texts of jobs as Server-Sent Events: of a job that POST /api/gpu/generate submits with "stream",
 * and of any job that the caller may see. Events:
 *
 *   event: job      {"job_id":17}
 *   event: state    {"state":"running"}                 when that changes
 *   (no name)       {"text":"...","token":12}           the text that follows; the id is the token
 *   event: restart  {}                                  the text begins anew: what came is void
 *   event: done     {"finish_reason":"stop","prompt_tokens":9,"completion_tokens":12}
 *   event: error    {"finish_reason":"error","error":"..."}     also of a job that was cancelled
 *
 * The client of a job that this makes cancels it by going; a job that was found with a unique key
 * goes on, and is shown only to who may see it. Last-Event-ID has a reader of another job go on
 * behind a token.
 */
#ifndef GATEWAY_GENERATE_H
#define GATEWAY_GENERATE_H

#include "gateway/request.h"

/* POST /api/gpu/generate: as the route's statement has it, or as a stream. */
extern void generate_handle(Request *request);

/* GET /api/gpu/jobs/{job_id}/output, behind Last-Event-ID or the parameter "after". */
extern void output_handle(Request *request);

#endif
