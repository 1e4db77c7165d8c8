-- Which shipped rules this data was offered, so that one that comes with a later version is offered once, and none twice.
UPDATE meta SET value = 'certificate,crash_loop,disk_full,instance_failed,memory_high,node_offline,unhealthy'
WHERE key = 'alert_defaults' AND value = '1';
