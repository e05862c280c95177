/*
 * Routes as OpenAI has them.
 */
#include "gateway/openai.h"
#include "gateway/routes.h"

#define BODY(text) \
	{.name = "body", .place = IN_WHOLE, .type = TYPE_JSON, .is_required = true, .description = text}

const Route openai_routes[] = {
	{
		.method = METHOD_POST,
		.path = "/v1/chat/completions",
		.group = GROUP_GPU,
		.summary = "Have a model answer messages, as OpenAI does",
		.description =
			"With \"stream\" the answer comes as Server-Sent Events. The job is cancelled when the "
			"client goes. n above 1, tools, logprobs and audio are refused; unknown fields are "
			"passed over; service_tier flex makes it a batch job.",
		.is_write = true,
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_OWN,
		.parameters = {BODY("OpenAI's chat completion request")},
		.handle = openai_chat_handle,
		.problem = openai_problem,
	},
	{
		.method = METHOD_POST,
		.path = "/v1/completions",
		.group = GROUP_GPU,
		.summary = "Have a model continue a prompt, as OpenAI does",
		.is_write = true,
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_OWN,
		.parameters = {BODY("OpenAI's completion request; one prompt")},
		.handle = openai_completion_handle,
		.problem = openai_problem,
	},
	{
		.method = METHOD_POST,
		.path = "/v1/embeddings",
		.group = GROUP_GPU,
		.summary = "Turn texts into vectors, as OpenAI does",
		.is_write = true,
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_OWN,
		.parameters = {BODY("OpenAI's embedding request; encoding_format float or base64")},
		.handle = openai_embedding_handle,
		.problem = openai_problem,
	},
	{
		.method = METHOD_GET,
		.path = "/v1/models",
		.group = GROUP_GPU,
		.summary = "The models of the mesh, as OpenAI lists them",
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_OWN,
		.handle = openai_models_handle,
		.problem = openai_problem,
	},
	{
		.method = METHOD_GET,
		.path = "/v1/models/{model*}",
		.group = GROUP_GPU,
		.summary = "A model of the mesh, as OpenAI shows it",
		.roles = ROLE_PRINCIPAL,
		.shape = SHAPE_OWN,
		.parameters = {{.name = "model",
						.place = IN_PATH,
						.type = TYPE_NAME,
						.is_required = true,
						.description = "its name, which may have slashes and colons"}},
		.handle = openai_model_handle,
		.problem = openai_problem,
	},
};

const size_t openai_route_count = sizeof(openai_routes) / sizeof(openai_routes[0]);
