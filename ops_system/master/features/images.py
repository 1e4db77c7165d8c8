"""Images of operating systems and install profiles: what a task is resolved from."""

from ops_system.master.features.ground import Ground
from ops_system.master.images import api as images_api
from ops_system.master.images import profiles_api
from ops_system.master.images.library import Images
from ops_system.master.images.profiles import Profiles
from ops_system.master.images.service import Catalogue
from ops_system.master.images.shelf import Shelf
from ops_system.master.packages.service import Packages
from ops_system.master.publishers.service import Publishers


def build_images(ground: Ground, packages: Packages) -> Catalogue:
    """Images beside the packages in the blob store; their names in the store of installations."""
    if ground.provision is None:
        raise RuntimeError("the store is opened before the features are built")
    store = ground.provision.store
    shelf = Shelf(store)
    is_required = ground.config.storage.require_publisher
    images = Images(
        shelf=shelf,
        blobs=ground.store,
        uploads=packages.uploads,
        publishers=Publishers(
            database=ground.database, audit=ground.audit, clock=ground.clock, is_required=is_required
        ),
        audit=ground.audit,
        bus=ground.bus,
        clock=ground.clock,
    )
    profiles = Profiles(shelf=shelf, store=store, audit=ground.audit, bus=ground.bus, clock=ground.clock)
    ground.parts["images"] = images.run
    ground.routes += [*images_api.routes(images), *profiles_api.routes(profiles)]
    return Catalogue(shelf, images, profiles)
