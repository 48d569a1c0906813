"""The settings that the embedded server runs with, from the memory of the machine: pure.

Promise: fsync and synchronous_commit are on, always; what only a superuser's ALTER SYSTEM could weaken is given on the
command line, which nothing overrides.
"""

MIB = 1024 * 1024
GIB = 1024 * MIB

ALWAYS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "listen_addresses": "",
    "port": "5432",
}
STEADY = {
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
    "unix_socket_permissions": "0700",
    "wal_level": "replica",
    "max_wal_senders": "4",
    "archive_mode": "off",
    "wal_compression": "pglz",
    "wal_buffers": "64MB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "jit": "off",
    "random_page_cost": "1.1",
    "autovacuum_naptime": "15s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.02",
    "autovacuum_vacuum_cost_limit": "2000",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_line_prefix": "%m [%p] ",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_startup_progress_interval": "1s",
}
ACCESS = "local all all scram-sha-256\nlocal replication all scram-sha-256\n"


def settings(memory_bytes: int) -> dict[str, str]:
    """Return every setting that may be overridden, scaled by the memory of the machine."""
    return STEADY | {
        "shared_buffers": _mib(memory_bytes // 6, least=64 * MIB, most=8 * GIB),
        "effective_cache_size": _mib(memory_bytes // 2, least=128 * MIB, most=1024 * GIB),
        "maintenance_work_mem": _mib(memory_bytes // 64, least=32 * MIB, most=1 * GIB),
        "work_mem": _mib(memory_bytes // 1024, least=4 * MIB, most=64 * MIB),
        "max_wal_size": _mib(memory_bytes // 6, least=512 * MIB, most=4 * GIB),
        "min_wal_size": _mib(memory_bytes // 48, least=80 * MIB, most=512 * MIB),
    }


def text(values: dict[str, str]) -> str:
    """Return settings as a configuration file."""
    return "".join(f"{name} = '{value}'\n" for name, value in sorted(values.items()))


def _mib(wanted: int, *, least: int, most: int) -> str:
    return f"{min(max(wanted, least), most) // MIB}MB"
