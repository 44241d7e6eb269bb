"""How far two samples are from one another: maximum mean discrepancy."""
