"""Python follows the page that a view stands on."""

from twist.view.lighting import Lighting


def tell(lighting, view="a", **facts):
    content = {"method": "custom", "content": {"do": "lighting", "view": view, **facts}}
    lighting._handle_msg({"content": {"comm_id": lighting.comm.comm_id, "data": content}, "buffers": []})


def test_without_a_browser_it_is_light_and_seen():
    lighting = Lighting()
    assert (lighting.dark, lighting.width, lighting.seen) == (False, 0, True)


def test_the_page_is_followed():
    lighting, changes = Lighting(), []
    lighting.observe(lambda change: changes.append((change.name, change.new)))
    tell(lighting, dark=True, width=900, seen=True)
    tell(lighting, dark=True, width=900, seen=True)
    assert sorted(changes) == [("dark", True), ("width", 900)]


def test_of_several_pages_one_that_can_be_seen_is_enough_and_the_newest_is_followed():
    lighting = Lighting()
    tell(lighting, "a", dark=False, width=900, seen=True)
    tell(lighting, "b", dark=True, width=1400, seen=True)
    assert lighting.dark and lighting.width == 1400
    tell(lighting, "b", dark=True, width=1400, seen=False)
    assert lighting.seen and lighting.width == 900
    tell(lighting, "a", dark=False, width=900, seen=False)
    assert not lighting.seen
    tell(lighting, "a", gone=True)
    tell(lighting, "b", gone=True)
    assert lighting.seen


def test_a_page_that_is_loaded_again_takes_the_place_of_what_it_was():
    lighting = Lighting()
    tell(lighting, "a", page="tab", load="1", dark=False, width=900, seen=True)
    tell(lighting, "b", page="other", load="1", dark=False, width=700, seen=True)
    tell(lighting, "c", page="tab", load="2", dark=True, width=1400, seen=True)
    tell(lighting, "c", page="tab", load="2", dark=True, width=1400, seen=False)
    assert lighting.width == 700
    tell(lighting, "b", page="other", load="1", gone=True)
    assert not lighting.seen


def test_other_messages_are_left_to_others():
    lighting = Lighting()
    assert not lighting.hear_of_page({"do": "stop"}) and not lighting.hear_of_page("words")
    assert lighting.hear_of_page({"do": "lighting", "view": "a", "seen": True, "width": None})
    assert lighting.width == 0
