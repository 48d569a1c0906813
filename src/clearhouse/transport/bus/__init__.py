"""Buses: events out to NATS and Kafka, and messages in from them. A toolkit: which of them are used, `app` decides."""
