"""The API over HTTP: routes, checks and the OpenAPI document, all derived from the operations. It decides nothing."""
