"""The seven metrics of the document, by name."""

from house import House
from town import PAYEE, PAYER, Town

WANTED = (
    'settlement_total{status="COMPLETED"} 2.0',
    'settlement_total{status="FUNDS_LOCKED"} 1.0',
    'settlement_duration_seconds_bucket{le="300"} 2.0',
    'settlement_amount_total{currency="USD"} 30.0',
    "reconciliation_discrepancies_total 1.0",
    'atomic_operations_total{state="COMMITTED"} 2.0',
    f'nostro_balance{{bank="{PAYEE}",currency="USD"}} 970.0',
    f'vostro_balance{{bank="{PAYER}",currency="USD"}} 970.0',
)


async def test_prometheus_reads_the_metrics_of_the_document_by_their_names(house: House) -> None:
    town = await Town.built(house)
    for amount in ("10.00", "20.00"):
        await town.execute(amount)
    await town.settle()
    await town.execute("1.00")
    await town.bank.control.fund(f"{PAYEE}:USD", "7.00")
    await town.compare()
    auditor = await house.caller("auditor")
    told = (await auditor.get("/metrics")).text.splitlines()
    assert [line for line in WANTED if line not in told] == []
