from source_faker import records


def test_a_record_does_not_depend_on_those_made_before():
    alone = records.user(7, 5)
    after_others = [records.user(7, i) for i in range(1, 6)][-1]
    assert alone == after_others


def test_neighbouring_ids_and_seeds_differ():
    names = {records.user(seed, i)["name"] for seed in (1, 2) for i in range(1, 51)}
    assert len(names) > 90


def test_purchases_refer_to_users_and_products_that_exist():
    for purchase_id in range(1, 301):
        purchase = records.purchase(3, purchase_id)
        assert 1 <= purchase["user_id"] <= purchase_id
        assert 1 <= purchase["product_id"] <= min(purchase_id, len(records.PRODUCTS))


def test_a_purchase_happens_in_order():
    seen = {"left in the cart": 0, "kept": 0, "returned": 0}
    for purchase_id in range(1, 1001):
        purchase = records.purchase(3, purchase_id)
        moments = [purchase["added_to_cart_at"], purchase["purchased_at"], purchase["returned_at"]]
        known = [m for m in moments if m]
        assert known == sorted(known)
        assert moments[: len(known)] == known
        assert records.user(3, purchase["user_id"])["created_at"] <= purchase["added_to_cart_at"]
        seen[list(seen)[len(known) - 1]] += 1
    assert 250 < seen["left in the cart"] < 350
    assert 60 < seen["returned"] < 150


def test_products_are_the_catalog():
    assert records.product(1) == {
        **records.PRODUCTS[0],
        "id": 1,
        "created_at": "2020-12-31T00:00:00+00:00",
    }
