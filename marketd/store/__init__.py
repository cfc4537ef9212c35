"""What marketd keeps in PostgreSQL: sessions, named queries, migrations and the pages written through them."""
