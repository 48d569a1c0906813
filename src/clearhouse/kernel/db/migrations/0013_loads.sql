-- Items of one side that came together are a load: what is delivered in this house is events, to webhooks.

ALTER TABLE reconciliation_delivery RENAME TO reconciliation_load;
ALTER TABLE reconciliation_item RENAME COLUMN delivery TO load;
ALTER INDEX reconciliation_delivery_pkey RENAME TO reconciliation_load_pkey;
ALTER INDEX reconciliation_delivery_waiting RENAME TO reconciliation_load_waiting;
ALTER INDEX reconciliation_delivery_run RENAME TO reconciliation_load_run;
ALTER INDEX reconciliation_item_delivery RENAME TO reconciliation_item_load;
