"""What the gateway tells of its work: counters, what replicas have sampled, the access log, and their way over OTLP.

Promises: hot code touches plain attributes, and text is made when somebody asks for it; no request waits for a
collector, nor for the log.
"""
